"""What completed labels are worth, where the truth is known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import brier_score_loss, log_loss

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

BINS = 15


def decision_quality(
    probabilities: np.ndarray, decisions: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Precision and recall of the decisions, and how good the probabilities are, pooled over all classes.

    Args:
        probabilities: (N, C) calibrated.
        decisions: (N, C) of 1 / 0 / -1, -1 for undecided.
        truth: (N, C) of 1 / 0 / -1; pairs of -1 count nowhere.
        weights: (N, C), how many labels a label stands for in fractions and losses; None for 1.

    Returns:
        ``labels`` that count; for ``positive`` and ``negative`` each ``decided``, ``right``, ``effective`` (how many
        labels of equal weight would tell as much as those decided), ``precision`` (NaN if nothing was decided) and
        ``recall`` (of all labels that are truly so; NaN without any); ``undecided``; ``log_loss``, ``brier`` and
        ``calibration_error``, see :func:`calibration_error`. Fractions, not percent.
    """
    counts = truth != UNKNOWN
    p, decided, truth = probabilities[counts], decisions[counts], truth[counts]
    w = np.ones(len(p)) if weights is None else weights[counts]
    quality: dict[str, Any] = {'labels': int(len(truth))}
    for name, code in (('positive', POSITIVE), ('negative', NEGATIVE)):
        said, right, there = decided == code, (decided == code) & (truth == code), truth == code
        quality[name] = {
            'decided': int(said.sum()),
            'right': int(right.sum()),
            'effective': float(w[said].sum() ** 2 / (w[said] ** 2).sum()) if said.any() else 0.0,
            'precision': float(w[right].sum() / w[said].sum()) if said.any() else float('nan'),
            'recall': float(w[right].sum() / w[there].sum()) if there.any() else float('nan'),
        }
    quality['undecided'] = int((decided == UNKNOWN).sum())
    if len(truth):
        quality['log_loss'] = float(
            log_loss(truth == POSITIVE, np.clip(p, 1e-12, 1 - 1e-12), sample_weight=w, labels=[False, True])
        )
        quality['brier'] = float(brier_score_loss(truth == POSITIVE, p, sample_weight=w))
        quality['calibration_error'] = calibration_error(p, truth == POSITIVE, weights=w)
    return quality


def precision_interval(part: Mapping[str, Any]) -> tuple[float, float]:
    """95 % interval of Wilson for the precision of ``positive`` or ``negative`` decisions; (0, 1) of none."""
    from scipy.stats import binomtest  # takes a second to import

    if not part['decided']:
        return 0.0, 1.0
    right, number = part['right'], part['decided']
    if 'effective' in part:  # not in records of earlier versions
        number = max(round(part['effective']), 1)
        right = round(part['precision'] * number)
    interval = binomtest(right, number).proportion_ci(method='wilson')
    return float(interval.low), float(interval.high)


def calibration_error(
    probabilities: np.ndarray, positive: np.ndarray, bins: int = BINS, weights: np.ndarray | None = None
) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3), of the probability of being positive.

    Args:
        probabilities: (M,) in [0, 1], M > 0.
        positive: (M,) bool.
        bins: of equal width.
        weights: (M,) of the labels; None for 1.

    Returns:
        The mean over all labels of the distance, within a label's bin, of mean probability and share of positives.
    """
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    w = np.ones(len(probabilities)) if weights is None else weights
    excess = np.bincount(bin_of, w * (probabilities - positive), minlength=bins)
    return float(np.abs(excess).sum() / w.sum())


def format_quality(quality: Mapping[str, Any]) -> str:
    """A table of :func:`decision_quality` in percent, for the terminal."""

    def percent(value: float) -> str:
        return '-' if value != value else f'{100 * value:.1f} %'

    total = max(quality['labels'], 1)
    lines = [f'{"":<10}{"labels":>10}{"of all":>10}{"precision":>12}{"recall":>10}']
    for name in ('positive', 'negative'):
        part = quality[name]
        lines.append(
            f'{name:<10}{part["decided"]:>10,}{percent(part["decided"] / total):>10}'
            f'{percent(part["precision"]):>12}{percent(part["recall"]):>10}'
        )
    lines.append(f'{"undecided":<10}{quality["undecided"]:>10,}{percent(quality["undecided"] / total):>10}')
    return '\n'.join(lines)
