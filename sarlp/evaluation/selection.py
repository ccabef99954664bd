"""Whether a yes is as likely to be known as a no, and how much likelier it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

LEAST = float(np.log(1.5))  # log odds below which a sample is taken for a fair one
_WORSE = 0.1  # that a precision may be in the worst case without a word
_BOUNDS = -6.0, 6.0  # in log odds: an estimate beyond says that the scores tell nothing
_RESAMPLES, _AT_ONCE = 200, 20


@dataclass(frozen=True)
class Selection:
    """How known labels were selected.

    People write down what they see. Then the known labels have more positives than the unknown ones, and what is
    learnt and measured on them promises too many. It is assumed that a positive looks the same whether it is known or
    not (label shift), and that the odds of a positive to be known are ``exp(log_odds)`` times those of a negative in
    all classes alike. With ``k`` and ``u`` the shares of positives among known and unknown labels of a class::

        logit(u) = logit(k) - log_odds

    Attributes:
        log_odds: 0 of a fair sample.
        low, high: its 95 % interval, from a bootstrap over images.
        shares: (C,) ``k``, those of known labels.
    """

    log_odds: float
    low: float
    high: float
    shares: np.ndarray

    @property
    def shift(self) -> float:
        """What is taken into account: ``log_odds``, or 0 where the interval holds less than :data:`LEAST`."""
        sure = self.low * self.high > 0 and min(abs(self.low), abs(self.high)) >= LEAST
        return self.log_odds if sure else 0.0

    def weights(self, labels: np.ndarray, log_odds: float | None = None) -> np.ndarray:
        """Of known labels, so that they stand for the unknown ones of their class.

        Args:
            labels: (N, C) of 1 / 0 / -1.
            log_odds: that give ``u``; None for :attr:`shift`.

        Returns:
            (N, C) float64: ``u / k`` of positives, ``(1 - u) / (1 - k)`` of negatives, 0 of unknown labels.
        """
        share = shift_odds(self.shares, self.shift if log_odds is None else log_odds)
        of_negatives = np.where(labels == NEGATIVE, (1 - share) / (1 - self.shares), 0.0)
        return np.where(labels == POSITIVE, share / self.shares, of_negatives)

    def to_json(self) -> dict[str, Any]:
        return {'log_odds': self.log_odds, 'low': self.low, 'high': self.high, 'shift': self.shift}


def say_selection(found: Mapping[str, Any] | None, asked: float) -> str | None:
    """What :meth:`Selection.to_json` and ``at_worst`` mean for somebody who asked for that precision; None: nothing.

    Args:
        found: the ``selection`` of :func:`~sarlp.evaluation.thresholds.calibrate`, or None.
        asked: the precision, in (0, 1).
    """
    if not found:
        return None
    said = []
    if found['shift']:
        odds, *ends = (np.exp(abs(found[name])) for name in ('log_odds', 'low', 'high'))
        more, less = ('yes', 'no') if found['shift'] > 0 else ('no', 'yes')
        said.append(
            f'What is known is no fair sample: the odds of a {more} to be known are about {_number(odds)} times those '
            f'of a {less} ({_number(min(ends))} to {_number(max(ends))} times), as the scores of what is unknown show. '
            'Probabilities, thresholds and the shares here are corrected for that.'
        )
    if found.get('at_worst', 1.0) < asked - _WORSE:  # not NaN either: nothing was called positive
        most = f'{_number(np.exp(found["high"]))} times'
        said.append(
            f'That is a rough estimate: at {most}, about {found["at_worst"]:.0%} of what is filled in as yes is right.'
            if found['shift']
            else 'So few known labels can not tell whether a yes was written down more readily than a no: the odds of '
            f'a yes to be known may be up to {most} those of a no, and then about {found["at_worst"]:.0%} of what is '
            'filled in as yes is right.'
        )
    return ' '.join(said) or None


def _number(number: float) -> str:
    return f'{number:.0f}' if number >= 10 else f'{number:.2g}'


def estimate_selection(
    probabilities: np.ndarray, labels: np.ndarray, pool: np.ndarray, groups: np.ndarray
) -> Selection | None:
    """Estimate from the scores of unknown labels how the known ones were selected.

    Of a label with probability ``p`` in a class of share ``k`` let ``s = sigmoid(logit(p) - logit(k))``, what ``p``
    would be if positives were half of them. If ``m1`` and ``m0`` are the means of ``s`` over known positives and
    negatives, unknown labels of share ``u`` have the mean ``u m1 + (1 - u) m0``; the ``log_odds`` are those by which
    this is so of all unknown labels together. (The method of moments of Z. C. Lipton et al., ICML 2018, with one
    parameter for all classes, so that a few hundred known labels are enough.)

    Args:
        probabilities: (N, C) calibrated, of images with known labels that neither model nor calibration has seen.
        labels: (N, C) of 1 / 0 / -1, those labels.
        pool: (M, C) calibrated, of the unknown labels; NaN elsewhere.
        groups: (N,) int; images of one are drawn together.

    Returns:
        The selection; None where the scores of positives and negatives are too alike to tell.
    """
    positive, negative = labels == POSITIVE, labels == NEGATIVE
    shares = (positive.sum(axis=0) + 0.5) / ((labels != UNKNOWN).sum(axis=0) + 1)
    both = positive.any(axis=0) & negative.any(axis=0)
    blank = ~np.isnan(pool) & both
    if not both.any() or not blank.any():
        return None
    s, own = (_even(p, shares) for p in (probabilities, np.where(blank, pool, 0.5)))
    of_image = [
        (s * positive * both).sum(axis=1),
        (positive * both).sum(axis=1),
        (s * negative * both).sum(axis=1),
        (negative * both).sum(axis=1),
    ]
    known = np.stack([np.bincount(groups, values) for values in of_image], axis=1)  # (G, 4)
    unknown = np.concatenate([(own * blank).sum(axis=1, keepdims=True), blank], axis=1)  # (M, 1 + C)

    def solve(of_known: np.ndarray, of_unknown: np.ndarray) -> float:
        (sum1, n1, sum0, n0), (total, *numbers) = of_known, of_unknown
        if not n1 or not n0 or sum1 / n1 <= sum0 / n0:
            return np.nan
        m1, m0 = sum1 / n1, sum0 / n0
        return _falling_root(lambda x: shift_odds(shares, x) @ numbers * (m1 - m0) + m0 * sum(numbers) - total)

    found = solve(known.sum(axis=0), unknown.sum(axis=0))
    random = np.random.default_rng(0)
    drawn = [
        solve(*sums)
        for _ in range(_RESAMPLES // _AT_ONCE)
        for sums in zip(*(_times_drawn(len(part), random) @ part for part in (known, unknown)), strict=True)
    ]
    if np.isnan([found, *drawn]).any():
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Selection(found, float(low), float(high), shares)


def _even(p: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return p * (1 - shares) / (p * (1 - shares) + (1 - p) * shares)


def shift_odds(p: np.ndarray, log_odds: float) -> np.ndarray:
    """``sigmoid(logit(p) - log_odds)``, by operations that every machine rounds alike: thresholds lie on its values.
    By 0 it is ``p`` itself."""
    if not log_odds:
        return p
    odds = p * float(np.exp(-log_odds))
    return odds / (odds + (1 - p))


def _times_drawn(number: int, random: np.random.Generator) -> np.ndarray:
    """(20, number): how often each is among as many that are drawn with replacement."""
    draws = random.integers(number, size=(_AT_ONCE, number))
    return np.stack([np.bincount(draw, minlength=number) for draw in draws]).astype(np.float64)


def _falling_root(function) -> float:
    """Where a falling function is 0, but within the bounds."""
    from scipy.optimize import brentq

    low, high = _BOUNDS
    if function(low) <= 0 or function(high) >= 0:
        return low if function(low) <= 0 else high
    return brentq(function, low, high, xtol=1e-6)
