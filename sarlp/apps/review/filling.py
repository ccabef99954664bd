"""Which answer fills most: the order in which a review that learns asks."""

import numpy as np

from sarlp.labels import UNKNOWN


def expected_filling(
    probability: np.ndarray,
    cls: np.ndarray,
    label: np.ndarray,
    undecided: np.ndarray,
    asked: np.ndarray,
    group: np.ndarray,
    positives: np.ndarray,
) -> np.ndarray:
    """The number of blanks that an answer can be expected to fill.

    Of a label of class ``c`` with probability ``p``::

        ([undecided] + h * n_c / (2 * (1 + k_c + H))) / (1 + r)

    An answer fills the blank itself, if the model has not decided it. It is also evidence for the class: learning
    curves fall about as the root of the number of examples, so that of ``n_c`` undecided labels of a class with
    ``k_c`` known positives - which are rarer than negatives, and hold the class back - one more example decides
    ``n_c / (2 k_c)``. ``h = 4 p (1 - p)`` is the share of an example that an answer is worth: of what the model is sure
    of it learns nothing. ``H`` is the sum of ``h`` over the labels of the class that are worth more, which are asked
    before, and ``r`` the number of labels of the same image, or of images alike, that come before: ten labels of one
    photograph in a row show little. Of a suspect, which is no blank, ``[undecided]`` is 0 and ``h`` is ``|p - label|``.

    Args:
        probability: (M,) in [0, 1].
        cls, group: (M,) indices of the class and of the image or images alike.
        label: (M,) 1 / 0 of suspects, -1 of unknown labels.
        undecided: (M,) bool.
        asked: (M,) bool, which are still to be asked; the others get 0.
        positives: (C,) known and answered positives.

    Returns:
        (M,) float64.
    """
    h = np.where(label == UNKNOWN, 4 * probability * (1 - probability), np.abs(probability - label)) * asked
    number = np.bincount(cls[undecided & asked], minlength=len(positives))
    before = _sum_before(h, h, cls)
    gain = (undecided & asked) + h * number[cls] / (2 * (1 + positives[cls] + before))
    return gain / (1 + _sum_before(asked.astype(np.float64), gain, group))


def _sum_before(values: np.ndarray, key: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """For each the sum of the values of its kind with a greater key; equal ones come in their order."""
    order = np.lexsort((-key, kind))
    kinds, sums = kind[order], np.cumsum(values[order]) - values[order]
    starts = np.searchsorted(kinds, kinds)
    result = np.empty(len(values))
    result[order] = sums - sums[starts]
    return result
