"""What a person reads of a completion: what was read, what is promised and why, what is left blank and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sarlp.apps.completion import Completion
from sarlp.apps.spreadsheet_completion.backbones import Backbone
from sarlp.apps.spreadsheets.csv_labels import ReadLabels
from sarlp.errors import shorten
from sarlp.evaluation.quality import precision_interval
from sarlp.evaluation.selection import say_selection
from sarlp.evaluation.thresholds import LEAST_NEGATIVE
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

_KINDS = {'yes': 'positive', 'no': 'negative'}
_MOST_NAMES = 50  # in a sentence
_MUCH = 0.25  # of the missing yes of a class
_ENOUGH = 5  # known labels of a kind below which a class is said to have few


def format_summary(read: ReadLabels, observed: np.ndarray) -> str:
    """Images and cells that were read.

    Args:
        read: the spreadsheet.
        observed: (N, C) of 1 / 0 / -1.
    """
    yes, no, blank = (int((observed == code).sum()) for code in (POSITIVE, NEGATIVE, UNKNOWN))
    images = [
        f'{len(observed):,} found',
        f'{len(read.merged.missing):,} missing',
        f'{len(read.unlisted):,} in the folder and in no row',
    ]
    return (
        f'images: {", ".join(images)}\n'
        f'classes: {observed.shape[1]:,}\n'
        f'cells: {yes:,} yes, {no:,} no, {blank:,} blank ({blank / observed.size:.1%})'
    )


def format_report(
    read: ReadLabels,
    observed: np.ndarray,
    completion: Completion,
    backbone: Backbone,
    files: Mapping[str, Path],
    commands: Mapping[str, str],
) -> str:
    """A completion in Markdown.

    Args:
        read, observed: see :func:`format_summary`.
        completion: of it.
        backbone: what was trained.
        files: what was written, by name.
        commands: what to do next, by name.
    """
    unknown = completion.scored.observed == UNKNOWN
    filled = unknown & (completion.decisions != UNKNOWN)
    lines = [
        f'# {Path(read.csv).name}, completed',
        '',
        f'Of {int(unknown.sum()):,} blank cells {int(filled.sum()):,} were filled in '
        f'({filled.sum() / unknown.sum():.1%}), {int((unknown & ~filled).sum()):,} are left blank. '
        'What was known stays as it was.',
        '',
        *(line for remark in read.remarks for line in (f'{remark[:1].upper()}{remark[1:]}', '')),
        *_not_reached(completion),
        *_one_kind(completion),
        *(f'    {line}' for line in format_summary(read, observed).splitlines()),
        f'    trained: {backbone.config}, {backbone.reason}',
        f'    folds: {completion.record.folds}, each filled in by a model that has not seen it',
        '',
        '## What is promised, and the evidence',
        '',
        *_promise(completion),
        '',
        '## Class by class',
        '',
        *_classes(completion, unknown),
        '',
        '## What is left blank, and why',
        '',
        *_left_blank(completion, unknown),
        '',
        '## Files',
        '',
        *(f'- {name}: {path.absolute()}' for name, path in files.items()),
        '',
        f'Go on, with what is open and what the model contradicts ({len(completion.suspects):,} known cells):',
        '',
        f'    {commands["review"]}',
        '',
        *_not_judged(completion),
        'Other photographs:',
        '',
        f'    {commands["predict"]}',
        '',
    ]
    return '\n'.join(lines)


def _not_judged(completion: Completion) -> list[str]:
    number = completion.not_judged
    if not number:
        return []
    return [
        f'{number:,} known cells could not be doubted: the model of their photograph has seen no other like it.',
        '',
    ]


def _promise(completion: Completion) -> list[str]:
    asked, expected = completion.record.calibration.precision, completion.record.expected
    lines = [
        f'Asked for were {_share(asked)}: so many of the cells filled in as yes are to be right, and a cell is filled '
        f'in as no where that has a probability of at least {_share(asked)}. The evidence is a cross-validation on '
        f'{completion.held_out:,} known cells, each looked at by a model that was not trained on its photograph:',
        '',
        '| filled in as | known cells | right | | 95 % interval |',
        '|---|---|---|---|---|',
    ]
    for word, kind in _KINDS.items():
        part = expected[kind]
        shown = '- | -'
        if part['decided']:
            low, high = precision_interval(part)
            shown = f'{part["precision"]:.1%} | {low:.1%} to {high:.1%}'
        lines.append(f'| {word} | {part["decided"]:,} | {part["right"]:,} | {shown} |')
    selection = say_selection(expected.get('selection'), asked)
    if selection:
        lines += ['', selection]
    if expected['positive']['precision'] >= asked > (low := precision_interval(expected['positive'])[0]):
        lines += ['', f'So few known cells can not rule out {low:.1%} for yes; more of them narrow that down.']
    lines += [
        '',
        'All classes are taken together there; of a single one it may be more or less.',
        *_rare(completion),
        '',
        'This holds for cells like those that were known. Where people filled in only what was easy, it is what is '
        'easy that it holds for.',
    ]
    return lines


def _missed(completion: Completion, column: int) -> tuple[float, float]:
    """How many yes of a class are to be expected among its blanks filled in as no, and among all its blanks."""
    p, decided = completion.probabilities[:, column], completion.decisions[:, column]
    blank = completion.scored.observed[:, column] == UNKNOWN
    return float(p[blank & (decided == NEGATIVE)].sum()), float(p[blank].sum())


def _rare(completion: Completion) -> list[str]:
    """Of which classes a no is filled in nearly everywhere, for want of better knowledge."""
    shares = {
        name: missed / there
        for column, name in enumerate(completion.record.classes)
        for missed, there in [_missed(completion, column)]
        if missed >= 1 and missed > _MUCH * there
    }
    if not shares:
        return []
    by_share = sorted(shares, key=shares.__getitem__)[::-1]
    shown = _names([f'{name} ({shares[name]:.0%})' for name in by_share])
    return [
        '',
        'A no is filled in wherever a yes has so small a probability, and in a rare class that is nearly everywhere: '
        f'of what is missing of these, this share is expected among the no: {shown}. More known yes of them would '
        'find it.',
    ]


def _not_reached(completion: Completion) -> list[str]:
    """What the precision that was asked for is not promised of, for who reads the first lines alone."""
    asked, expected = completion.record.calibration.precision, completion.record.expected
    words = [word for word, kind in _KINDS.items() if not expected[kind]['precision'] >= asked]
    if not words:
        return []
    return [
        f'**The {_share(asked)} of {" and of ".join(words)} that were asked for were not reached on known cells '
        '(below). Fill in more cells.**',
        '',
    ]


def _one_kind(completion: Completion) -> list[str]:
    """Which classes stay blank, and what to do about it, for who reads the first lines alone."""
    known = completion.scored.observed
    lacking = {}
    undecided = {*completion.record.calibration.undecided}
    for word, code in (('yes', POSITIVE), ('no', NEGATIVE)):
        lacking[word] = [
            name
            for column, name in enumerate(completion.record.classes)
            if name in undecided and not (known[:, column] == code).any()
        ]
    return [
        line
        for word, names in lacking.items()
        if names
        for line in (
            f'**Nothing is filled in of {_names(names)}: no cell is known to be {word} there, and what '
            f'is {word} can not be told from what is not. Fill in some {word}.**',
            '',
        )
    ]


def _classes(completion: Completion, unknown: np.ndarray) -> list[str]:
    lines = [
        '| class | known yes | known no | filled in yes | filled in no | of these yes, about | left blank '
        '| yes from probability |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for column, name in enumerate(completion.record.classes):
        known = completion.scored.observed[:, column]
        decided = completion.decisions[unknown[:, column], column]
        threshold = completion.record.calibration.thresholds[column]
        counts = [
            *(int((known == code).sum()) for code in (POSITIVE, NEGATIVE)),
            *(int((decided == code).sum()) for code in (POSITIVE, NEGATIVE)),
            round(_missed(completion, column)[0]),
            int((decided == UNKNOWN).sum()),
        ]
        lines.append(
            f'| {_cell(name)} | {" | ".join(f"{count:,}" for count in counts)} | '
            f'{f"{threshold:.2f}" if np.isfinite(threshold) else "none"} |'
        )
    return lines


def _left_blank(completion: Completion, unknown: np.ndarray) -> list[str]:
    asked = completion.record.calibration.precision
    lines = [
        f'A cell is left blank where its probability is above {_share(1 - asked)}, so that it is no safe no, and below '
        'what a yes of its class takes.',
    ]
    never: list[str] = []
    lacking: list[str] = []
    few: list[str] = []
    undecided = {*completion.record.calibration.undecided}
    for column, name in enumerate(completion.record.classes):
        known = completion.scored.observed[:, column]
        yes, no = int((known == POSITIVE).sum()), int((known == NEGATIVE).sum())
        if name in undecided:
            continue
        if no < LEAST_NEGATIVE:
            lacking.append(f'{name} ({no})')
        elif not np.isfinite(completion.record.calibration.thresholds[column]):
            never.append(name)
        if min(yes, no) < _ENOUGH:
            few.append(f'{name} ({yes} yes, {no} no)')
    if never:
        lines += [
            '',
            f'Never filled in as yes, since no probability of theirs is expected to have {_share(asked)} right: '
            f'{_names(never)}.',
        ]
    if lacking:
        lines += [
            '',
            f'Never filled in as yes, since fewer than {LEAST_NEGATIVE} cells are known to be no, and a model that is '
            f'shown hardly one finds a thing everywhere: {_names(lacking)}. Fill in some no.',
        ]
    if few:
        lines += [
            '',
            f'Little is known of, so that little is filled in or it rests on the other classes: '
            f'{_names(few)}. To fill in a few more cells of these helps most.',
        ]
    between = unknown & (completion.decisions == UNKNOWN)
    lines += [
        '',
        f'{int(between.sum()):,} cells are left blank: the review page shows them, the most informative first.',
    ]
    return lines


def _share(value: float) -> str:
    """As it was asked for, to the last digit: 99.9 % are not 100 %."""
    return f'{100 * value:.10g}%'


def _names(names: Sequence[str]) -> str:
    """In a sentence; of hundreds the first, since the table has all of them."""
    return shorten(list(map(_cell, names)), _MOST_NAMES)


def _cell(text: str) -> str:
    return text.replace('|', '\\|')
