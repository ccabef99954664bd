"""Counts over the labels of a data set, and what they say about training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sarlp.datasets.annotation import labels_of
from sarlp.labels import POSITIVE, UNKNOWN


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the labels of N images and C classes.

    Attributes:
        classes: C names.
        positive, negative, unknown: (C,) int64, images where the class is that.
        known_share: (N,) float64 in [0, 1], share of the classes that are known in an image.
    """

    classes: tuple[str, ...]
    positive: np.ndarray
    negative: np.ndarray
    unknown: np.ndarray
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
    positive, negative, positive_of_rest = Counter(), Counter(), Counter()
    share, rest = [], 0
    for entry in data_list:
        positive.update(entry['positive'])
        if isinstance(entry['negative'], str):  # every class that is not positive
            rest += 1
            positive_of_rest.update(entry['positive'])
            share.append(1.0)
        else:
            negative.update(entry['negative'])
            share.append((len(entry['positive']) + len(entry['negative'])) / number)
    positives = np.array([positive[index] for index in range(number)])
    negatives = np.array([negative[index] + rest - positive_of_rest[index] for index in range(number)])
    return LabelCounts(
        tuple(classes), positives, negatives, len(data_list) - positives - negatives, np.array(share, float)
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
    """Count labels.

    Args:
        metainfo, data_list: as :func:`load_annotation` returns them.
        by_class: in a table; if not, a line about all classes together.

    Returns:
        The table has a line for each class: the images where it is positive, negative, unknown and ignored, and the
        share of images where it is known; at the end the same over all classes.
    """
    classes, total = metainfo['classes'], len(data_list)
    positive, negative, ignored, positive_of_rest = Counter(), Counter(), Counter(), Counter()
    rest = 0
    for entry in data_list:
        positive.update(entry['positive'])
        ignored.update(entry.get('ignore', ()))
        if isinstance(entry['negative'], str):
            rest += 1
            positive_of_rest.update(entry['positive'])
        else:
            negative.update(entry['negative'])

    rows = []
    for index, name in enumerate(classes):
        negatives = negative[index] + rest - positive_of_rest[index]
        rows.append([name, positive[index], negatives, total - positive[index] - negatives, ignored[index]])
    everything = [sum(row[i] for row in rows) for i in range(1, 5)]
    size = f'{total:,} images, {len(classes):,} classes'
    if not by_class:
        positives, negatives, unknown, _ = everything
        return f'{size}, {positives:,} positive, {negatives:,} negative and {unknown:,} unknown labels'
    rows.append([f'all {len(classes)} classes', *everything])
    width = max(5, *(len(row[0]) for row in rows))
    lines = [
        size,
        f'{"class":<{width}}{"positive":>12}{"negative":>12}{"unknown":>12}{"ignored":>12}{"known":>9}',
    ]
    for name, *counts in rows:
        known = (counts[0] + counts[1]) / max(sum(counts[:3]), 1)
        lines.append(f'{name:<{width}}' + ''.join(f'{count:>12,}' for count in counts) + f'{known:>9.1%}')
    return '\n'.join(lines)
