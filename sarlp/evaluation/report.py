"""What is printed and written of an evaluation.

Files are UTF-8 and replaced as a whole: written under a temporary name beside the target, then renamed, so that a run
killed while writing leaves the old file or none.
"""

import csv
import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sarlp.io.files import atomic_write
from sarlp.io.json_file import plain
from sarlp.io.outputs import check_output, has_keys, is_table
from sarlp.labels import UNKNOWN, is_chosen

METRICS, PREDICTIONS, RECOVERED = 'metrics.json', 'predictions.csv', 'recovered_labels.csv'
_RECOVERED_HEADER = ('image', 'class', 'probability', 'decision', 'truth')
F1_NAMES = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')
_RECOVERY = 'recovery_'
_MOST_CLASSES = 120  # whose AP is listed on a terminal
_OURS = re.compile(rf'mAP(_plain)?|classes_left_out|AP|{_RECOVERY}.*|({"|".join(F1_NAMES)})(_top\d+)?')


def own_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of metrics of one's own, by name: neither of sarlp's, nor texts or lists. NaN where one is not defined."""
    found = {name: math.nan if value is None else value for name, value in metrics.items() if not _OURS.fullmatch(name)}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def format_table(metrics: Mapping[str, Any], digits: int = 2) -> str:
    """A table of metrics for the terminal.

    Args:
        metrics: flat dict of :class:`~sarlp.evaluation.MultiLabelMetric` and
            :class:`~sarlp.evaluation.LabelRecoveryMetric`, in percent; whatever is absent is left out of the table.
            May also hold ``AP``, a dict from class name to percent, listed from the best class down; of many classes
            the best and the worst.
        digits: decimals of each number.

    Returns:
        Several lines without a final line break. A number that is not defined shows as ``-``.
    """

    def number(value: float) -> str:
        return '-' if math.isnan(value) else f'{value:.{digits}f}'

    blocks = []
    labels = {'mAP': 'mAP', 'mAP_plain': 'mAP, plain'}
    means = [[label, number(metrics[key])] for key, label in labels.items() if key in metrics]
    if means:
        lines = _columns(means)
        left_out = int(metrics.get('classes_left_out', 0))
        if left_out:
            lines.append(f'({left_out} {"class" if left_out == 1 else "classes"} without a positive left out)')
        blocks.append(lines)

    rows = [
        ['at the threshold' if not suffix else f'and in the top {suffix[4:]}']
        + [number(metrics[name + suffix]) if name + suffix in metrics else '-' for name in F1_NAMES]
        for suffix in _f1_suffixes(metrics)
    ]
    if rows:
        blocks.append(_columns([['', *F1_NAMES], *rows]))

    recovery = _recovery(metrics)
    if recovery:
        hidden, positive = int(recovery.pop('hidden', 0)), int(recovery.pop('hidden_positive', 0))
        lines = [f'recovery of {hidden} hidden labels, {positive} of them positive']
        blocks.append(lines + _columns([list(recovery), [number(value) for value in recovery.values()]], left=0))

    others = [[name, number(value)] for name, value in own_numbers(metrics).items()]
    if others:  # of metrics of one's own
        blocks.append(_columns(others))

    ap = metrics.get('AP')
    if ap:
        by_value = sorted(ap, key=lambda name: -math.inf if math.isnan(ap[name]) else ap[name], reverse=True)
        left_out = len(by_value) - _MOST_CLASSES
        lines = []
        if left_out > 0:  # they were thousands of lines
            half = _MOST_CLASSES // 2
            lines = ['', f'(the best and the worst classes; {METRICS} has the {left_out:,} between as well)']
            by_value = by_value[:half] + by_value[-half:]
        table = _columns([['class', 'AP'], *([name, number(ap[name])] for name in by_value)])
        blocks.append(_side_by_side(table) + lines)
    return '\n\n'.join('\n'.join(lines) for lines in blocks)


def write_metrics_json(
    path: str | os.PathLike, metrics: Mapping[str, float], ap_by_class: Mapping[str, float], protocol: Mapping[str, Any]
) -> None:
    """Write ``metrics.json``.

    The file is strict JSON (a NaN becomes ``null``) with the keys ``mAP``, ``mAP_plain``, ``CP CR CF1 OP OR OF1``, the
    six with ``_top<k>`` and ``classes_left_out``, as far as ``metrics`` has them; ``AP`` (class name to number);
    ``recovery`` (without the prefix ``recovery_``), if measured; ``protocol``.

    Args:
        path: file to write; its folder is made if needed.
        metrics: flat dict of the metrics, in percent and without a prefix.
        ap_by_class: average precision of each class, in percent.
        protocol: what the numbers depend on (data set, split, mask, kind of AP, ...); anything JSON can hold.
    """
    content: dict[str, Any] = {name: value for name, value in metrics.items() if not name.startswith(_RECOVERY)}
    content['AP'] = dict(ap_by_class)
    recovery = _recovery(metrics)
    if recovery:
        content['recovery'] = recovery
    content['protocol'] = dict(protocol)
    with atomic_write(path) as file:
        json.dump(plain(content), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write('\n')


def check_results(folder: str | os.PathLike) -> None:
    """See that ``metrics.json``, ``predictions.csv`` and ``recovered_labels.csv`` replace nothing but earlier ones.

    Raises:
        UserError: see :func:`~sarlp.io.outputs.check_output`.
    """
    folder = Path(folder)
    check_output(folder / METRICS, (), has_keys('AP', 'protocol'))
    check_output(folder / RECOVERED, (), is_table(_RECOVERED_HEADER))
    # labels of a person may look like predictions; the metrics beside them, which are written first, tell
    is_ours, tested = is_table(['image'], numbers_after=True), (folder / METRICS).is_file()
    check_output(folder / PREDICTIONS, (), lambda path: tested and is_ours(path))


def write_predictions_csv(
    path: str | os.PathLike, image_ids: Sequence[str], classes: Sequence[str], scores: np.ndarray
) -> None:
    """Write one line an image: ``image`` and the probability of each class, to six significant digits.

    Args:
        path: file to write; its folder is made if needed.
        image_ids: N ids.
        classes: C names, the header.
        scores: (N, C) floating point.
    """
    scores = _checked('scores', scores, image_ids, classes)
    with atomic_write(path, newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['image', *classes])
        for image_id, row in zip(image_ids, scores, strict=True):
            writer.writerow([image_id, *(f'{value:.6g}' for value in row.tolist())])


def write_recovered_csv(
    path: str | os.PathLike,
    image_ids: Sequence[str],
    classes: Sequence[str],
    scores: np.ndarray,
    observed: np.ndarray,
    full: np.ndarray,
    threshold: float,
) -> None:
    """Write one line for each hidden label: ``image, class, probability, decision, truth``.

    Lines follow the order of the images, then of the classes. ``decision`` is 1 if the probability is above the
    threshold, else 0; ``truth`` is 1 or 0, and blank where the complete labels do not know it.

    Args:
        path: file to write; its folder is made if needed.
        image_ids: N ids.
        classes: C names.
        scores: (N, C) floating point.
        observed: (N, C) of 1 / 0 / -1; a label is hidden if it is -1.
        full: (N, C) of 1 / 0 / -1.
        threshold: of the decision, see :func:`~sarlp.labels.is_chosen`.
    """
    scores = _checked('scores', scores, image_ids, classes)
    observed = _checked('observed', observed, image_ids, classes)
    full = _checked('full', full, image_ids, classes)
    decisions = is_chosen(scores, threshold)
    with atomic_write(path, newline='') as file:
        writer = csv.writer(file)
        writer.writerow(_RECOVERED_HEADER)
        for row, image_id in enumerate(image_ids):
            for column in np.flatnonzero(observed[row] == UNKNOWN).tolist():
                truth = full[row, column]
                writer.writerow(
                    [
                        image_id,
                        classes[column],
                        f'{scores[row, column]:.6g}',
                        int(decisions[row, column]),
                        '' if truth == UNKNOWN else int(truth),
                    ]
                )


def _f1_suffixes(metrics: Mapping[str, Any]) -> list[str]:
    """'' and '_top<k>' as far as the metrics have them."""
    found = {match[1] for match in (re.fullmatch(r'CF1(|_top\d+)', str(name)) for name in metrics) if match}
    return sorted(found, key=lambda suffix: int(suffix[4:] or 0))


def _recovery(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name[len(_RECOVERY) :]: value for name, value in metrics.items() if name.startswith(_RECOVERY)}


def _columns(rows: list[list[str]], left: int = 1) -> list[str]:
    """Lines with aligned columns, the first ``left`` of them to the left and the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _side_by_side(table: list[str], least: int = 3, width: int = 100) -> list[str]:
    """A long table in parts beside each other, of at least ``least`` rows; read down, then to the right."""
    header, *rows = table
    parts = max(min(width // (len(header) + 4), len(rows) // least), 1)
    height = math.ceil(len(rows) / parts)
    columns = [[header, *rows[start : start + height]] for start in range(0, len(rows), height)]
    return ['    '.join(line).rstrip() for line in itertools.zip_longest(*columns, fillvalue='')]


def _checked(name: str, array: np.ndarray, image_ids: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != (len(image_ids), len(classes)):
        raise ValueError(
            f'{name} must have the shape (images, classes) = ({len(image_ids)}, {len(classes)}), but have {array.shape}'
        )
    return array
