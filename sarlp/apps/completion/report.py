"""What a completion prints."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sarlp.apps.completion.complete import Completion
from sarlp.apps.completion.record import IN_SAMPLE
from sarlp.errors import shorten
from sarlp.evaluation.quality import format_quality, precision_interval
from sarlp.evaluation.selection import say_selection
from sarlp.evaluation.thresholds import LEAST_NEGATIVE
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

_DOUBT = 0.05  # by which the interval of a precision may reach below it without a word


def format_completion(completion: Completion) -> str:
    """Counts, thresholds and quality as text of many lines."""
    record, scored = completion.record, completion.scored
    calibration = record.calibration
    unknown = scored.observed == UNKNOWN
    if calibration.scale == 0:
        how = 'the scores say nothing of them'
    else:
        how = f'temperature {1 / calibration.scale:.2f}{", then a monotone curve" * (calibration.knots is not None)}'
    lines = [
        f'{len(scored.image_ids):,} images, {int(unknown.sum()):,} of {unknown.size:,} labels unknown',
        f'calibrated on {completion.held_out:,} known labels of images that '
        f'{"their models were" if record.folds else "the model was"} not trained on: {how}',
        '',
    ]
    width = max(5, *(len(name) for name in record.classes))
    lines.append(f'{"class":<{width}}{"threshold":>11}{"positive":>10}{"negative":>10}{"undecided":>11}')
    for column, name in enumerate(record.classes):
        decided = completion.decisions[unknown[:, column], column]
        threshold = calibration.thresholds[column]
        counts = [int((decided == code).sum()) for code in (POSITIVE, NEGATIVE, UNKNOWN)]
        shown = f'{threshold:.3f}' if math.isfinite(threshold) else 'none'
        lines.append(f'{name:<{width}}{shown:>11}{counts[0]:>10,}{counts[1]:>10,}{counts[2]:>11,}')
    if calibration.undecided:
        lines.append(
            f'nothing is decided of {len(calibration.undecided)} classes, of which no positive or no negative label is '
            f'known there: {shorten(calibration.undecided)}'
        )
    out_of_reach = [
        name
        for name, t in zip(record.classes, calibration.thresholds, strict=True)
        if np.isinf(t) and name not in calibration.undecided
    ]
    if out_of_reach:
        lines.append(
            f'nothing is called positive in {len(out_of_reach)} classes, of which no threshold has a precision of '
            f'{calibration.precision:g}, or fewer than {LEAST_NEGATIVE} negative labels are known: '
            f'{shorten(out_of_reach)}'
        )
    lines += ['', 'what to expect, by cross-validation on the known labels:', format_quality(record.expected)]
    selection = say_selection(record.expected.get('selection'), calibration.precision)
    if selection:
        lines.append(f'note: {selection[0].lower()}{selection[1:]}')
    positive = record.expected['positive']
    low, high = precision_interval(positive)
    lines.append(
        f'positive decisions: {positive["right"]:,} of {positive["decided"]:,} right, '
        f'95 % interval {low:.1%} to {high:.1%}'
    )
    if positive['precision'] < calibration.precision:
        lines.append(f'note: the precision of {calibration.precision:g} was not reached there; label more images')
    elif low < calibration.precision - _DOUBT:
        lines.append(
            f'note: so few decisions are no evidence for a precision of {calibration.precision:g}; it may be as low as '
            f'{low:.0%}. Label more images, or look through what is filled in (sarlp review)'
        )
    if record.measured is not None:
        lines += [
            '',
            f'measured on {record.measured["labels"]:,} unknown labels whose truth is there:',
            *_contradictions(record.measured),
            format_quality(record.measured),
            f'calibration error {record.measured["calibration_error"]:.1%}',
            *(
                f'asked for a precision of {asked}: positive decisions {_percent(quality["positive"]["precision"])} '
                f'right, {_percent(quality["positive"]["recall"])} of the missing positives found'
                for asked, quality in record.measured_at.items()
            ),
        ]
    if record.folds is None and 'train' in record.annotations:
        lines += [
            '',
            'note: the model was trained on images of the training split, so it may be surer of them than of those',
            'that it was calibrated on. --folds 5 scores each image by a model that has not seen it',
        ]
    lines += ['', f'known labels that the model contradicts: {len(completion.suspects):,}']
    if completion.not_judged:
        lines.append(
            f'note: {completion.not_judged:,} known labels are not judged, as the model of their image has seen no '
            'other of their class and kind'
        )
    in_sample = sum(suspect.evidence == IN_SAMPLE for suspect in completion.suspects)
    if record.folds is None and 'train' in record.annotations:
        lines.append(
            f'note: of these {in_sample:,} are labels that the model was trained on, and what it learnt by heart it '
            'does not contradict; --folds 5 lets models that have not seen them doubt them'
        )
    lines.append('')
    lines += [f'{name:<10} {path}' for name, path in completion.files.items()]
    return '\n'.join(lines)


def _contradictions(measured: Mapping[str, Any]) -> list[str]:
    number, compared = (measured.get(key, 0) for key in ('contradicted', 'compared'))  # not of earlier versions
    if not number:
        return []
    return [
        f'note: the truth contradicts {number:,} of the {compared:,} known labels that it has too. If it is not that '
        'those are wrong, its rows or columns are out of step, and this says nothing:'
    ]


def _percent(value: float) -> str:
    return '-' if math.isnan(value) else f'{value:.1%}'
