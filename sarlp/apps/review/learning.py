"""The answers of a review, learnt from: scores out of fold, probabilities and decisions anew.

Axis legend: ``K`` folds, ``N`` images, ``C`` classes, ``D`` width of the features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import log_loss

from sarlp.apps.completion import Calibration, calibrate, fit_calibration
from sarlp.apps.refit.row import objective
from sarlp.apps.review.features import FoldFeatures
from sarlp.apps.review.log_line import Pair
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN


@dataclass(frozen=True)
class Learned:
    """What the models say after some answers.

    Attributes:
        probabilities: (N, C) float64, calibrated.
        decisions: (N, C) int8 of 1 / 0 / -1, at the precision asked for.
        calibration: whose thresholds decided.
        expected: quality, see :func:`~sarlp.evaluation.thresholds.calibrate`.
        answers: number of decisions that it was learnt from.
    """

    probabilities: np.ndarray
    decisions: np.ndarray
    calibration: Calibration
    expected: Mapping[str, Any]
    answers: int


def learn(
    features: FoldFeatures,
    classes: tuple[str, ...],
    decided: Mapping[Pair, int],
    precision: float,
    groups: Sequence[str] | None = None,
    l2: Sequence[float] = (3e-4, 3e-3, 3e-2),
) -> Learned:
    """Learn from the decisions of a person.

    Probabilities and thresholds rest on the labels that were known before, as the person has corrected them, and on
    their scores of now. The answers are no part of that: they were asked for because the model was unsure, so that
    they are no sample of the labels that remain. These labels also say how much is learnt: of the trained scores and
    the refitted ones of each ``l2`` those are taken whose calibrated log loss on them, out of fold, is least. A few
    answers on many features can teach the wrong thing.

    Args:
        features: of all images.
        classes: C names.
        decided: 1 / 0 / -1 by image and class; those of other images or classes count nowhere.
        precision: asked for.
        groups: N names, of :func:`~sarlp.evaluation.thresholds.calibrate`.
        l2: to choose from, see :func:`refit_scores`.

    Raises:
        UserError: too few labels are known to calibrate on.
    """
    rows = {image: row for row, image in enumerate(features.image_ids.tolist())}
    columns = {name: column for column, name in enumerate(classes)}
    answers = np.full(features.observed.shape, UNKNOWN, np.int8)
    answered = np.zeros(features.observed.shape, bool)
    for (image, name), code in decided.items():
        if image in rows and name in columns:
            answers[rows[image], columns[name]] = code
            answered[rows[image], columns[name]] = True
    labels = np.where(answered, answers, features.observed)
    given = np.where(features.observed == UNKNOWN, UNKNOWN, labels)
    trained = refit_scores(features, labels, np.zeros_like(answered), 1.0)
    refitted = [refit_scores(features, labels, answered, strength) for strength in l2] if answered.any() else []
    scores = min([trained, *refitted], key=lambda found: _loss(found, given, classes))
    pool = np.where((features.observed == UNKNOWN) & ~answered, scores, np.nan)
    fitted, expected = calibrate(scores, given, pool, classes, precision, groups=groups)
    probabilities = fitted.probabilities(scores)
    return Learned(probabilities, fitted.decide(probabilities), fitted, expected, int(answered.sum()))


def refit_scores(features: FoldFeatures, labels: np.ndarray, answered: np.ndarray, l2: float) -> np.ndarray:
    """Score each image by the model of its fold, and by what the answers on the images of other folds add to it.

    To the logit ``z`` that the model of a fold gives a class is added ``w . x + b``, ``x`` the features of that model,
    each of mean 0 and variance 1 over the images. ``w`` and ``b`` minimise ``mean of the cross entropy + l2 / 2 * m *
    |w|^2`` over the labels known, or answered, of the images that are not in the fold; ``m`` is the mean of ``|x|^2``,
    so that ``l2`` has no unit. No label of an image has a part in its own score. A class without an answer outside the
    fold keeps ``z``, and so does one of which the labels there are all alike.

    Args:
        features: of all images.
        labels: (N, C) of 1 / 0 / -1, known or answered.
        answered: (N, C) bool.
        l2: > 0.

    Returns:
        (N, C) float64, sigmoid scores.
    """
    logits = features.logits[features.fold, np.arange(len(features.fold))].astype(np.float64)
    for fold in np.unique(features.fold):
        inside = features.fold == fold
        x = features.features[fold].astype(np.float64)
        deviation = x.std(0)
        x = (x - x.mean(0)) / np.where(deviation > 0, deviation, 1.0)
        x = np.append(x, np.ones((len(x), 1)), 1)
        for c in np.flatnonzero(answered[~inside].any(0)):
            taught = ~inside & (labels[:, c] != UNKNOWN)
            if {POSITIVE, NEGATIVE} <= {*labels[taught, c].tolist()}:
                row = _fit(x[taught], features.logits[fold, taught, c].astype(np.float64), labels[taught, c], l2)
                logits[inside, c] += x[inside] @ row
    return expit(logits)


def _loss(scores: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> float:
    known = labels != UNKNOWN
    p = fit_calibration(scores, labels, classes).probabilities(scores)[known]
    return log_loss(labels[known] == POSITIVE, p, labels=[False, True])


def _fit(x: np.ndarray, start: np.ndarray, target: np.ndarray, l2: float) -> np.ndarray:
    """(D + 1,) what is added to the row of a class, and to its bias."""
    penalty = l2 * float(np.mean(np.sum(x[:, :-1] ** 2, 1)))

    def value(row: np.ndarray) -> tuple[float, np.ndarray]:
        logits = start + x @ row
        gradient = (expit(logits) - target) @ x / len(target)
        gradient[:-1] += penalty * row[:-1]
        return objective(logits, target, row, penalty), gradient

    # a probability moves by less than it is printed with; the whole of the precision takes three times as long
    return minimize(value, np.zeros(x.shape[1]), jac=True, method='L-BFGS-B', options=dict(gtol=1e-4, ftol=1e-8)).x
