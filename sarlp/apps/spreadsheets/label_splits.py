"""On which side of the split the images of a file of labels are, where the file says it."""

from collections import Counter
from collections.abc import Mapping

from sarlp.apps.spreadsheets.label_files import LabelFile, Merged
from sarlp.apps.spreadsheets.label_files.columns import SPLIT_WORDS
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten

TRAINVAL, TEST = SPLITS = ('trainval', 'test')


def find_splits(file: LabelFile, merged: Merged, groups: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The split of each image that a file has, and what to say of it.

    Images to train on are in ``trainval``. So are those to validate on, where there are others to test on; else they
    are in ``test``. What is blank is to train on.

    Args:
        file: with its column of splits, if it has one.
        merged: what it says.
        groups: those of the images, see :func:`~sarlp.datasets.groups.join_groups`.

    Returns:
        One of :data:`SPLITS` by path, nothing where the file says nothing; and lines.

    Raises:
        AnnotationError: a cell names no split, an image is in two, the column has but one of them, or a group that the
            file names is on both sides.
    """
    said: dict[str, tuple[str, str]] = {}
    for where, written, word in file.splits():
        path = merged.names.get(written, written)
        if path not in merged.labels or not word:
            continue
        place = f'{file.path}, {file.place(where)}'
        if word.lower() not in SPLIT_WORDS:
            raise AnnotationError(
                f'{place}: expected the split of {path}, one of {", ".join(SPLIT_WORDS)}, found {word!r}. Correct the '
                'column, or draw the split without it, by --ignore-columns.'
            )
        kind = SPLIT_WORDS[word.lower()]
        if said.setdefault(path, (kind, file.place(where)))[0] != kind:
            raise AnnotationError(
                f'{place}: {path} is to {kind} here, and to {said[path][0]} in {said[path][1]}. Correct the column.'
            )
    if not said:
        if file.splits_told:
            raise AnnotationError(
                f'{file.path}: the column of splits is blank. Leave --split-column out, and a split is drawn; or fill '
                'it in.'
            )
        return {}, []
    blank = [path for path in merged.labels if path not in said]
    counts = Counter(kind for kind, _ in said.values())
    side = {'train': TRAINVAL, 'val': TRAINVAL if counts['test'] else TEST, 'test': TEST}
    shown = ', '.join(f'{kind} {counts[kind]:,} in {side[kind]}.json' for kind in side if counts[kind])
    if len({*(side[kind] for kind in counts), *[TRAINVAL] * bool(blank)}) < len(SPLITS):
        if file.splits_told:
            raise AnnotationError(
                f'{file.path}: all images of the column of splits are to {"".join(counts)}. Leave --split-column out, '
                'and a split is drawn; or correct the column.'
            )
        return {}, [f'note: the file names one split only ({shown}), so that one is drawn']
    splits = {path: side[kind] for path, (kind, _) in said.items()}
    sides = dict.fromkeys([*merged.labels, *groups], TRAINVAL) | splits
    lines = [f'split that the file has: {shown}', *_on_both_sides(file, merged, sides, groups)]
    if blank:
        lines.append(f'note: images whose split is blank, in {TRAINVAL}.json: {len(blank):,}: {shorten(blank)}')
    return splits, lines


def _on_both_sides(file: LabelFile, merged: Merged, sides: Mapping[str, str], groups: Mapping[str, str]) -> list[str]:
    """Lines about images that belong together, and are on both sides."""
    named: dict[str, dict[str, str]] = {}
    for _, written, group in file.groups():
        path = merged.names.get(written, written)
        if path in sides:
            named.setdefault(group, {}).setdefault(sides[path], path)
    torn = [f'{group!r} ({", ".join(found.values())})' for group, found in named.items() if len(found) > 1]
    if torn:
        raise AnnotationError(
            f'{file.path}: {len(torn):,} groups have images on both sides of its split: {shorten(torn)}. Correct the '
            'file, or draw a split that keeps groups together, by --ignore-columns with the column of the split.'
        )
    alike: dict[str, dict[str, str]] = {}
    for path, group in groups.items():
        alike.setdefault(group, {}).setdefault(sides[path], path)
    leaks = [' and '.join(found.values()) for found in alike.values() if len(found) > 1]
    if not leaks:
        return []
    return [
        f'note: images that show the same are on both sides of the split that the file has: {len(leaks):,} times: '
        f'{shorten(leaks)}. What is measured on its test images is too good'
    ]
