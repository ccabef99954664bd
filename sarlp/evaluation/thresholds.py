"""Thresholds at which positive decisions have the precision that is asked for, and what to expect of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sarlp.evaluation.calibration import METHODS, Calibration, fit_calibration, require_enough
from sarlp.evaluation.quality import decision_quality
from sarlp.evaluation.selection import estimate_selection, shift_odds
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

FOLDS = 5
STRENGTH = 100.0  # how many known labels the calibrated probabilities of a class weigh as much as
BELIEF = 50.0  # as how many decisions the probabilities of what is filled in count, beside those on known labels
LEAST_NEGATIVE = 5  # known labels of a class, without which nothing is called positive in it
_STEPS = 10


def choose_thresholds(
    probabilities: np.ndarray,
    labels: np.ndarray,
    pool: np.ndarray,
    precision: float,
    strength: float = STRENGTH,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """For each class the lowest threshold, of at least 0.5, at which its positive decisions are precise enough.

    The precision at a threshold ``t`` is estimated by what is known and by what is believed together::

        (positives among the known labels with p >= t  +  strength * mean p of the pool with p >= t)
        ---------------------------------------------------------------------------------------------
        (known labels with p >= t  +  strength)

    A class with few known labels thus relies on the calibration that all classes share, and one with many on its own.
    That does not hold of a class with hardly a known negative label: people write down what they see, and a model that
    was shown nothing else finds it everywhere.

    Args:
        probabilities: (N, C) calibrated, of the images with known labels that the model was not trained on.
        labels: (N, C) of 1 / 0 / -1, those labels.
        pool: (M, C) calibrated, of the labels to be completed; NaN where there is nothing to complete.
        precision: asked for, in (0, 1).
        strength: of belief, in labels.
        weights: (N, C) of the known labels; None for 1.

    Returns:
        (C,) float64; infinite for a class that never reaches it, or of which fewer than :data:`LEAST_NEGATIVE` labels
        are known to be negative.
    """
    return _Precisions(probabilities, labels, pool, strength, weights).thresholds(precision)


class _Precisions:
    """The estimated precision at each possible threshold of each class, from which any precision asked for is read.

    Of a million labels hardly any have a probability of half or more. Only those are kept, and put in order once.

    Args:
        probabilities, labels, pool, strength, weights: of :func:`choose_thresholds`.
    """

    def __init__(
        self,
        probabilities: np.ndarray,
        labels: np.ndarray,
        pool: np.ndarray,
        strength: float = STRENGTH,
        weights: np.ndarray | None = None,
    ) -> None:
        self._of_class: list[tuple[np.ndarray, np.ndarray] | None] = []
        for c in range(labels.shape[1]):
            of_class = labels[:, c]
            if (of_class == NEGATIVE).sum() < LEAST_NEGATIVE:
                self._of_class.append(None)
                continue
            known = np.flatnonzero((of_class != UNKNOWN) & (probabilities[:, c] >= 0.5))
            p, positive = probabilities[known, c], of_class[known] == POSITIVE
            own = pool[pool[:, c] >= 0.5, c]  # not NaN
            candidates = np.unique(np.concatenate([p, own]))
            weight = np.ones(len(p)) if weights is None else weights[known, c]
            hits, number = (_sums_from(p, values, candidates) for values in (weight * positive, weight))
            belief, size = (_sums_from(own, values, candidates) for values in (own, np.ones(len(own))))
            mean = np.divide(belief, size, out=candidates.copy(), where=size > 0)
            self._of_class.append((candidates, (hits + strength * mean) / (number + strength)))

    def thresholds(self, precision: float) -> np.ndarray:
        """See :func:`choose_thresholds`."""
        thresholds = np.full(len(self._of_class), np.inf)
        for c, of_class in enumerate(self._of_class):
            if of_class is not None and (enough := of_class[1] >= precision).any():
                thresholds[c] = of_class[0][enough.argmax()]
        return thresholds


def _sums_from(p: np.ndarray, values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Sum of ``values`` over p >= t, for each candidate t."""
    order = np.argsort(p, kind='stable')
    sums = np.concatenate([np.cumsum(values[order][::-1])[::-1], [0.0]])
    return sums[np.searchsorted(p[order], candidates, side='left')]


def calibrate(
    scores: np.ndarray,
    labels: np.ndarray,
    pool: np.ndarray,
    classes: Sequence[str],
    precision: float,
    method: str = 'auto',
    groups: Sequence[str] | None = None,
    scored_alike: bool = True,
) -> tuple[Calibration, dict]:
    """Fit probabilities and thresholds, and estimate on known labels what the decisions are worth.

    The estimate is a cross-validation: calibration and thresholds of four fifths of the images decide on the known
    labels of the last fifth. A threshold chosen as the lowest that is precise enough is often so by luck. So the
    thresholds aim higher, in steps of a tenth of what is left to 1, until the precision is above the one asked for by a
    standard error, that of a share of so many decisions. The precision is that of the positive decisions in the
    cross-validation and, as if of :data:`BELIEF` more, the mean probability of what would be filled in: of few known
    labels a single wrong one would otherwise decide whether half or a quarter is filled in.

    Where yes and no are not as likely to be known (:class:`~sarlp.evaluation.selection.Selection`), probabilities are
    shifted, and known labels weighted, so that they stand for the unknown ones.

    Args:
        scores: (N, C) sigmoid scores of the images with known labels that the model was not trained on.
        labels: (N, C) of 1 / 0 / -1, those labels.
        pool: (M, C) sigmoid scores of the labels to be completed, NaN elsewhere.
        classes: C names.
        precision: asked for, in (0, 1).
        method: of :func:`~sarlp.evaluation.calibration.fit_calibration`, or ``'auto'``: the one whose probabilities
            have the smaller log loss in the cross-validation.
        groups: N names; images of one are on one side of the cross-validation, such as several of one patient. None:
            each image by itself.
        scored_alike: whether the scores of known and unknown labels can be compared. Those of images that the model was
            trained on are not like others.

    Returns:
        The calibration, and :func:`~sarlp.evaluation.quality.decision_quality` in the cross-validation, with ``aim``:
        the precision that the thresholds aim at; and, where it could be estimated, ``selection``, of
        :meth:`~sarlp.evaluation.selection.Selection.to_json` with ``at_worst``: the mean probability
        of the positive decisions, if ``log_odds`` is ``high``.

    Raises:
        UserError: there are too few known labels.
    """
    place: dict[str | int, int] = {}  # of a group, as they come first
    member = [place.setdefault(group, len(place)) for group in (range(len(scores)) if groups is None else groups)]
    fold = (np.random.default_rng(0).permutation(len(place)) % FOLDS)[member]

    def out_of_fold(method: str) -> tuple[list[Calibration], np.ndarray]:
        fits = [fit_calibration(scores[fold != k], labels[fold != k], classes, method, 1) for k in range(FOLDS)]
        p = np.empty(labels.shape)
        for k, fit in enumerate(fits):
            p[fold == k] = fit.probabilities(scores[fold == k])
        return fits, p

    require_enough(labels)  # of all labels, not of four fifths
    candidates = {name: out_of_fold(name) for name in (METHODS if method == 'auto' else (method,))}
    losses = {name: _log_loss(p, labels) for name, (_, p) in candidates.items()}
    method = min(losses, key=losses.__getitem__)
    fits, outside = candidates[method]
    fit = fit_calibration(scores, labels, classes, method)
    selection = None
    if scored_alike:
        selection = estimate_selection(outside, labels, fit.probabilities(pool), np.array(member))
    shift, weights = 0.0, (labels != UNKNOWN).astype(np.float64)
    if selection is not None and selection.shift:
        shift, weights = selection.shift, selection.weights(labels)
    fit, outside = replace(fit, shift=shift), shift_odds(outside, shift)
    parts = [replace(part, shift=shift) for part in fits]
    of_parts = [
        _Precisions(
            part.probabilities(scores[fold != k]),
            labels[fold != k],
            part.probabilities(pool),
            weights=weights[fold != k],
        )
        for k, part in enumerate(parts)
    ]
    p = fit.probabilities(pool)
    of_all = _Precisions(fit.probabilities(scores), labels, p, weights=weights)
    best: _Choice | None = None
    for step in range(_STEPS):
        aim = precision + (1 - precision) * step / _STEPS
        decisions = np.empty(labels.shape, np.int8)
        for k, (part, precisions) in enumerate(zip(parts, of_parts, strict=True)):
            decided = replace(part, thresholds=precisions.thresholds(aim), precision=precision)
            decisions[fold == k] = decided.decide(outside[fold == k])
        quality = decision_quality(outside, decisions, labels, weights)
        fitted = replace(fit, thresholds=of_all.thresholds(aim), precision=precision)
        filled = p[(fitted.decide(p) == POSITIVE) & ~np.isnan(p)]
        number = quality['positive']['effective']
        right = number * np.nan_to_num(quality['positive']['precision'])
        joint = (right + BELIEF * (filled.mean() if len(filled) else 0.0)) / (number + BELIEF)
        reached = joint - np.sqrt(precision * (1 - precision) / (number + BELIEF))
        if best is None or reached > best.reached:
            best = _Choice(reached, aim, quality, fitted, filled)
        if reached >= precision:
            break
    assert best is not None
    fitted, filled = best.calibration, best.filled
    expected = {**best.quality, 'aim': best.aim}
    if selection is not None:
        at_worst = shift_odds(filled, selection.high - shift).mean() if len(filled) else float('nan')
        expected['selection'] = {**selection.to_json(), 'at_worst': float(at_worst)}
    return fitted, expected


class _Choice(NamedTuple):
    """What an aim leads to.

    Attributes:
        reached: the precision, less its standard error.
        aim: of the thresholds.
        quality: in the cross-validation.
        calibration: with its thresholds.
        filled: probabilities of what it calls positive in the pool.
    """

    reached: float
    aim: float
    quality: dict
    calibration: Calibration
    filled: np.ndarray


def _log_loss(p: np.ndarray, labels: np.ndarray) -> float:
    known = labels != UNKNOWN
    right = np.where(labels == POSITIVE, p, 1 - p)[known]
    return float(-np.log(np.clip(right, 1e-12, 1)).mean())
