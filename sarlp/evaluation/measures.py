"""What the report measures beyond ``metrics.json``: calibration, the recovery curve, which images are best and worst.

Axis legend: ``N`` images, ``C`` classes, ``M`` (image, class) pairs whose label is known.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from sarlp.evaluation import average_precision
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

BINS = 10
_TINY = 1e-7  # scores are kept this far from 0 and 1 in the log loss, as float32 sigmoids are


@dataclass(frozen=True)
class Reliability:
    """How far scores are the chances that they claim to be.

    Attributes:
        count: (bins,) int64, pairs whose score is in the bin; bins are equally wide and closed on the right (the first
            on both sides), as scikit-learn's are.
        score: (bins,) float64, mean score in the bin; NaN where it is empty.
        positive: (bins,) float64, share of positives in the bin; NaN where it is empty.
        ece: expected calibration error, ``sum(count * |score - positive|) / M``.
        brier: mean squared difference of score and label.
    """

    count: np.ndarray
    score: np.ndarray
    positive: np.ndarray
    ece: float
    brier: float


def reliability(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability | None:
    """Bin scores and compare them with the labels.

    Args:
        scores: (M,) floating point in [0, 1].
        labels: (M,) of 1 / 0.
        bins: at least 1.

    Returns:
        None of no pair.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if not scores.size:
        return None
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], scores)
    count, score_sum, positives = (np.bincount(index, weights, minlength=bins) for weights in (None, scores, labels))
    with np.errstate(invalid='ignore'):
        score, positive = score_sum / count, positives / count
    ece = float(np.abs(score_sum - positives).sum() / scores.size)
    return Reliability(count, score, positive, ece, float(((scores - labels) ** 2).mean()))


@dataclass(frozen=True)
class RecoveryCurve:
    """Precision over recall of the hidden labels taken together, thinned for drawing, from high thresholds to low."""

    recall: np.ndarray
    precision: np.ndarray


def recovery_curve(scores: np.ndarray, truth: np.ndarray, points: int = 200) -> RecoveryCurve | None:
    """The curve of (M,) ``scores`` against (M,) ``truth`` of 1 / 0; None without a positive."""
    if not (truth == POSITIVE).any():
        return None
    precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
    precision, recall = precision[-2::-1], recall[-2::-1]  # the last is no threshold, but set to (0, 1) by definition
    chosen = np.unique(np.searchsorted(recall, np.linspace(recall[0], recall[-1], points)))
    return RecoveryCurve(recall[chosen], precision[chosen])


def precision_recall(decision: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Of decisions 1 / 0 against the truth 1 / 0; NaN where nothing was decided, or nothing was there."""
    hits = int(((decision == POSITIVE) & (truth == POSITIVE)).sum())
    decided, there = int((decision == POSITIVE).sum()), int((truth == POSITIVE).sum())
    return hits / decided if decided else float('nan'), hits / there if there else float('nan')


@dataclass(frozen=True)
class ImageScores:
    """How well each of N images is recognised.

    Attributes:
        ap: (N,) float64, average precision (not interpolated) of the image's own ranking of the classes whose label is
            known; NaN for an image without a known positive.
        log_loss: (N,) float64, mean over the same classes of minus the logarithm of the score given to the truth; NaN
            without a known label.
    """

    ap: np.ndarray
    log_loss: np.ndarray

    def order(self) -> np.ndarray:
        """The images that have an average precision, best first: by it, and by the log loss where it is equal."""
        ranked = np.flatnonzero(~np.isnan(self.ap))
        return ranked[np.lexsort((self.log_loss[ranked], -self.ap[ranked]))]


def score_images(scores: np.ndarray, labels: np.ndarray) -> ImageScores:
    """See :class:`ImageScores`; ``scores`` (N, C) in [0, 1], ``labels`` (N, C) of 1 / 0 / -1."""
    ap = average_precision(np.ascontiguousarray(scores.T), np.ascontiguousarray(labels.T), kind='plain')
    clipped = np.clip(scores, _TINY, 1 - _TINY)
    loss = -np.where(labels == POSITIVE, np.log(clipped), np.where(labels == NEGATIVE, np.log1p(-clipped), 0))
    known = (labels != UNKNOWN).sum(1)
    with np.errstate(invalid='ignore'):
        return ImageScores(ap, loss.sum(1) / known)
