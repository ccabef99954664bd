"""Counts over the labels of a data set, and what they say about training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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


def positives_together(data_list: Sequence[dict], num_classes: int, chosen: Sequence[int]) -> np.ndarray:
    """How often classes keep company, as far as labels are known.

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
