"""Label codes and label masks: what is known of which image.

A label mask is a pure function of (seed, image id, class name). It is therefore the same in every worker, rank, epoch
and resumed run, and does not depend on the order of images or classes or on images that were dropped. The registered
components built on these functions are in :mod:`sarlp.datasets.label_masks`.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

POSITIVE = 1
NEGATIVE = 0
UNKNOWN = -1


def _digest(*parts: str) -> np.uint64:
    """64 bits of a hash over ``parts``, equal on every platform (unlike :func:`hash`)."""
    data = b'\0'.join(part.encode('utf-8') for part in parts)
    return np.frombuffer(hashlib.blake2b(data, digest_size=8).digest(), '<u8')[0]


def class_keys(classes: Sequence[str]) -> np.ndarray:
    """Hash the class names once, for :func:`uniform_numbers`. Returns (C,) uint64."""
    return np.array([_digest('class', name) for name in classes], np.uint64)


def uniform_numbers(seed: int, image_id: str, keys: np.ndarray, purpose: str = 'image') -> np.ndarray:
    """One uniform random number per (seed, image, class).

    Args:
        seed: any integer; another seed gives independent numbers.
        image_id: the image's path relative to the image root, with forward slashes.
        keys: (C,) uint64 from :func:`class_keys`.
        purpose: numbers for another one are independent; the default is that of the masks.

    Returns:
        (C,) float64 in [0, 1).
    """
    return _mix(keys ^ _digest(purpose, str(seed), image_id))


def holdout_number(seed: int, image_id: str, purpose: str = 'holdout') -> float:
    """One uniform random number in [0, 1) per (seed, image, purpose), independent of :func:`uniform_numbers`.

    Images that were set aside for one purpose are then no special ones for another.
    """
    return float(_mix(np.array([_digest(purpose, str(seed), image_id)]))[0])


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser, to [0, 1); uint64 arithmetic wraps by definition."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hide_labels(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels with those outside the mask made unknown.

    Args:
        labels: (C,) of 1 / 0 / -1; a label that is unknown in the data stays unknown.
        known: (C,) bool, True where the label may be seen.

    Returns:
        (C,) of the same dtype.
    """
    return np.where(known, labels, np.asarray(UNKNOWN, labels.dtype))


DECISIONS = {POSITIVE: 'positive', NEGATIVE: 'negative', UNKNOWN: 'undecided'}  # as files and pages spell them
CODES = {name: code for code, name in DECISIONS.items()}


def is_chosen(scores: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """Whether classes are chosen: those whose score reaches its threshold, here as everywhere.

    Args:
        scores: any shape.
        thresholds: of a shape that goes with it; infinite where a class is never chosen.
    """
    return scores >= thresholds


def choose(scores: np.ndarray, thresholds: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """The chosen classes of an image and their scores, highest first, equal ones in the order of the classes.

    Args:
        scores, thresholds: (C,), see :func:`is_chosen`.
        classes: C names.
    """
    chosen = np.flatnonzero(is_chosen(scores, thresholds))
    order = chosen[np.argsort(-scores[chosen], kind='stable')]
    return {classes[index]: float(scores[index]) for index in order}
