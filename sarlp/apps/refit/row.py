"""The row of one class: a logistic regression that stays near a row trained before.

Axis legend: ``n`` images of which the class is known, ``F`` width of what the row is multiplied with.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


@dataclass(frozen=True)
class Evidence:
    """What a class looks like to its row, at the row that the model has now.

    Attributes:
        features: (n, F + 1) float32, derivatives of the logits by the row, the last one by its bias.
        logits: (n,) float32.
        target: (n,) of 1 / 0.
    """

    features: np.ndarray
    logits: np.ndarray
    target: np.ndarray

    @property
    def scale(self) -> float:
        """Mean squared length of the features, without the bias."""
        return float(np.mean(np.sum(np.square(self.features[:, :-1], dtype=np.float64), 1)))


def objective(logits: np.ndarray, target: np.ndarray, moved: np.ndarray, penalty: float) -> float:
    """``mean of the cross entropy + penalty / 2 * |moved|^2``.

    Args:
        logits: (n,).
        target: (n,) of 1 / 0.
        moved: (F + 1,) how far the row is from the trained one; the last number, of the bias, is free.
        penalty: >= 0.
    """
    entropy = np.mean(np.logaddexp(0, logits) - target * logits)
    return float(entropy + penalty / 2 * (moved[:-1] @ moved[:-1]))


def fit_row(evidence: Evidence, moved: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """The least :func:`objective`, of logits that change with the row as their derivatives say.

    Args:
        evidence: at the present row.
        moved: (F + 1,) float64, how far the present row is from the trained one.
        penalty: > 0.

    Returns:
        (F + 1,) float64, how far the new row is from the trained one; and its objective.
    """
    features, target = evidence.features.astype(np.float64), evidence.target
    start = evidence.logits - features @ moved

    def value(row: np.ndarray) -> tuple[float, np.ndarray]:
        logits = start + features @ row
        gradient = (expit(logits) - target) @ features / len(target)
        gradient[:-1] += penalty * row[:-1]
        return objective(logits, target, row, penalty), gradient

    # in units in which a feature has length 1, so that weights and bias are equally easy to move
    unit = np.append(np.full(len(moved) - 1, np.sqrt(max(evidence.scale, np.finfo(float).tiny))), 1.0)

    def scaled(row: np.ndarray) -> tuple[float, np.ndarray]:
        found, gradient = value(row / unit)
        return found, gradient / unit

    found = minimize(scaled, moved * unit, jac=True, method='L-BFGS-B', options=dict(gtol=1e-8, ftol=1e-14))
    return found.x / unit, found.fun
