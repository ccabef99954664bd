"""Counts over the labels of a data set, and what they say about training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sarlp.datasets.annotation import labels_of
from sarlp.labels import POSITIVE, UNKNOWN

MOST_ROWS = 100  # of a table of classes on a terminal


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the labels of N images and C classes.

    Attributes:
        classes: C names.
        positive, negative, unknown, ignored: (C,) int64, images where the class is that.
        known_share: (N,) float64 in [0, 1], share of the classes that are known in an image.
    """

    classes: tuple[str, ...]
    positive: np.ndarray
    negative: np.ndarray
    unknown: np.ndarray
    ignored: np.ndarray
    known_share: np.ndarray

    @property
    def known(self) -> float:
        """Share of all labels that are known."""
        return float(self.known_share.mean())

    def without(self, kind: str) -> list[str]:
        """The classes that are ``'positive'`` or ``'negative'`` in no image, so that they cannot be learnt."""
        counts = {'positive': self.positive, 'negative': self.negative}[kind]
        return [name for name, count in zip(self.classes, counts, strict=True) if count == 0]


def count_labels(classes: Sequence[str], data_list: Sequence[dict]) -> LabelCounts:
    """Count.

    Args:
        classes: names in the order of their ids.
        data_list: entries as :func:`~sarlp.datasets.annotation.load_annotation` returns them, at least one.
    """
    number = len(classes)
    found: dict[str, Counter[int]] = {kind: Counter() for kind in ('positive', 'negative', 'ignore', 'of_rest')}
    share: list[float] = []
    rest = 0
    for entry in data_list:
        found['positive'].update(entry['positive'])
        found['ignore'].update(entry.get('ignore', ()))
        if isinstance(entry['negative'], str):  # every class that is not positive
            rest += 1
            found['of_rest'].update(entry['positive'])
            share.append(1.0)
        else:
            found['negative'].update(entry['negative'])
            share.append((len(entry['positive']) + len(entry['negative'])) / number)
    by_class = {kind: np.array([counts[index] for index in range(number)]) for kind, counts in found.items()}
    negative = by_class['negative'] + rest - by_class['of_rest']
    unknown = len(data_list) - by_class['positive'] - negative
    return LabelCounts(
        tuple(classes), by_class['positive'], negative, unknown, by_class['ignore'], np.array(share, float)
    )


def co_occurrences(data_list: Sequence[dict], num_classes: int, chosen: Sequence[int]) -> np.ndarray:
    """How often classes co-occur, as far as labels are known.

    Args:
        data_list: entries of an annotation file.
        num_classes: C.
        chosen: K ids of classes.

    Returns:
        (2, K, K) int64. ``[0, i, j]`` counts the images where the i-th chosen class is positive and the j-th as well,
        ``[1, i, j]`` those where the i-th is positive and the j-th is known. Their ratio is how often j is there where
        i is.
    """
    labels = np.empty((len(data_list), len(chosen)), np.int8)
    for row, entry in enumerate(data_list):
        labels[row] = labels_of(entry, num_classes)[0][list(chosen)]
    positive = (labels == POSITIVE).astype(np.float64)  # whole numbers below 2**53: exact, and multiplied by BLAS
    known = (labels != UNKNOWN).astype(np.float64)
    return np.stack([positive.T @ positive, positive.T @ known]).astype(np.int64)


def summary(metainfo: dict[str, Any], data_list: Sequence[dict[str, Any]], by_class: bool = True) -> str:
    """:func:`count_labels` in words.

    Args:
        metainfo, data_list: as :func:`load_annotation` returns them.
        by_class: in a table, of many classes those with the most and with the fewest positives; if not, a line about
            all classes together.

    Returns:
        The table has a line for each class: the images where it is positive, negative, unknown and ignored, and the
        share of images where it is known; at the end the same over all classes.
    """
    found = count_labels(metainfo['classes'], data_list)
    table = np.stack([found.positive, found.negative, found.unknown, found.ignored], 1)
    size = f'{len(data_list):,} images, {len(table):,} classes'
    if not by_class:
        positives, negatives, unknown, _ = table.sum(0)
        return f'{size}, {positives:,} positive, {negatives:,} negative and {unknown:,} unknown labels'
    names = (*found.classes, f'all {len(table)} classes')
    rows = list(zip(names, np.vstack([table, table.sum(0)]).tolist(), strict=True))
    between: list[str] = []
    if len(table) > MOST_ROWS:
        order = np.argsort(-found.positive, kind='stable').tolist()
        first, last = order[: MOST_ROWS // 2], order[-(MOST_ROWS // 2) :]
        ends = (found.positive[order[place]] for place in (MOST_ROWS // 2, -MOST_ROWS // 2 - 1))
        between = [
            f'... {len(order) - MOST_ROWS:,} more classes, of {" to ".join(f"{end:,}" for end in ends)} positive ...'
        ]
        size += ', those with the most and with the fewest positives'
        rows = [*(rows[index] for index in (*first, *last)), rows[-1]]
    width = max(5, *(len(name) for name, _ in rows))
    lines = [
        size,
        f'{"class":<{width}}{"positive":>12}{"negative":>12}{"unknown":>12}{"ignored":>12}{"known":>9}',
    ]
    for place, (name, counts) in enumerate(rows):
        if place == MOST_ROWS // 2:
            lines += between
        known = (counts[0] + counts[1]) / max(sum(counts[:3]), 1)
        lines.append(f'{name:<{width}}' + ''.join(f'{count:>12,}' for count in counts) + f'{known:>9.1%}')
    return '\n'.join(lines)
