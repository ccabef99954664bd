"""From scores to calibrated probabilities, and to decisions.

Axis legend: ``N`` images, ``C`` classes, ``M`` (image, class) pairs.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sarlp.errors import UserError
from sarlp.evaluation.selection import shift_odds
from sarlp.io.json_file import read_json
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN, is_chosen

METHODS = ('temperature', 'isotonic')
LEAST = 10  # known labels of each kind, over all classes, without which nothing is fitted
_ADVICE = 'label more images of the test split, or use --folds 5, which holds out every known label once'
CLIP = 1e-7  # of scores, before the logit; about where a sigmoid in float32 reaches 1
_UNPENALISED = 1e3  # a feature multiplied by this has, next to the offsets, no penalty on its weight


@dataclass(frozen=True)
class Calibration:
    """A fitted map from the sigmoid scores of a model to probabilities, and the thresholds that decide on them.

    ``p = sigmoid(scale * logit(score) + offset[class])``: a temperature ``1 / scale`` that all classes share, and for
    each class an offset, since losses for rare positives move every score. With ``knots``, ``p`` then goes through
    a monotone piecewise linear curve that all classes share. Last, ``shift`` is taken from its logit, where labels that
    are unknown have fewer positives than those that were known.

    Attributes:
        classes: C names.
        scale: at least 0; 0 where the scores say nothing.
        offsets: (C,) float64.
        knots: (2, K) float64, abscissae and ordinates of the curve, or None.
        thresholds: (C,) float64, of probabilities. A class is there if its probability is at least the threshold;
            infinite where the precision is out of reach, and for classes in ``undecided``, whatever is given.
        precision: that was asked for, in (0, 1).
        undecided: names of classes that nothing is decided of: no yes, or no no, is known of them, so that to call all
            labels the other would look right.
        shift: that of a :class:`~sarlp.evaluation.selection.Selection`.
        model, kind: of the :class:`~sarlp.engine.records.provenance.Origin` of the model whose scores it was fitted to;
            of the models of folds it is the kind alone. '' where it is not known.
    """

    classes: tuple[str, ...]
    scale: float
    offsets: np.ndarray
    knots: np.ndarray | None = None
    thresholds: np.ndarray = field(default=None)  # type: ignore[arg-type]  # depends on the classes
    precision: float = 0.5
    undecided: tuple[str, ...] = ()
    shift: float = 0.0
    model: str = ''
    kind: str = ''

    def __post_init__(self):
        if self.thresholds is None:
            object.__setattr__(self, 'thresholds', np.full(len(self.classes), 0.5))
        object.__setattr__(self, 'thresholds', np.where(self._is_undecided(), np.inf, self.thresholds))

    def _is_undecided(self) -> np.ndarray:
        undecided = {*self.undecided}
        return np.array([name in undecided for name in self.classes], bool)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Args: (N, C) sigmoid scores in [0, 1]. Returns (N, C) float64."""
        from scipy.special import expit

        p = expit(self.scale * _logits(scores) + self.offsets)
        if self.knots is not None:
            p = np.interp(p, *self.knots)
        return shift_odds(p, self.shift)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Labels at the precision asked for.

        Positive where the probability reaches the threshold of the class, negative where it is at most
        1 - ``precision``, so that every single negative label is that likely, else unknown: undecided. So are the
        labels of the classes in ``undecided``.

        Args:
            probabilities: (N, C).

        Returns:
            (N, C) int8 of 1 / 0 / -1.
        """
        decisions = np.full(probabilities.shape, UNKNOWN, np.int8)
        decisions[probabilities <= 1 - self.precision] = NEGATIVE
        decisions[is_chosen(probabilities, self.thresholds)] = POSITIVE
        decisions[:, self._is_undecided()] = UNKNOWN
        return decisions

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` reads; an infinite threshold is null."""
        return {
            'classes': list(self.classes),
            'method': METHODS[self.knots is not None],
            'scale': self.scale,
            'offsets': self.offsets.tolist(),
            'knots': None if self.knots is None else self.knots.tolist(),
            'thresholds': [value if math.isfinite(value) else None for value in self.thresholds.tolist()],
            'precision': self.precision,
            'undecided': list(self.undecided),
            'shift': self.shift,
            'model': self.model,
            'kind': self.kind,
        }

    @classmethod
    def from_json(cls, content: Any, source: str | os.PathLike) -> 'Calibration':
        """Args: content of :meth:`to_json`; the file it is from, for the message."""
        try:
            classes = content['classes']
            if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
                raise ValueError('classes must be a list of names')
            knots = content['knots']
            calibration = cls(
                classes=tuple(classes),
                scale=float(content['scale']),
                offsets=_numbers(content['offsets'], (len(classes),)),
                knots=None if knots is None else _numbers(knots, (2, len(knots[0]))),
                thresholds=_numbers(
                    [math.inf if t is None else t for t in content['thresholds']], (len(classes),), True
                ),
                precision=float(content['precision']),
                undecided=tuple(content.get('undecided', ())),  # not in files of earlier versions, nor are the next
                shift=float(content.get('shift', 0.0)),
                model=str(content.get('model', '')),
                kind=str(content.get('kind', '')),
            )
            if not {*calibration.undecided} <= {*classes}:
                raise ValueError('undecided must name some of the classes')
            if not math.isfinite(calibration.shift):
                raise ValueError('shift must be finite')
            if not 0 <= calibration.scale < math.inf or not 0 < calibration.precision < 1:
                raise ValueError('scale must be at least 0, and precision in (0, 1)')
            if calibration.knots is not None and (np.diff(calibration.knots) < 0).any():
                raise ValueError('knots must rise')
        except (TypeError, KeyError, IndexError, ValueError) as error:
            reason = f'no {error}' if isinstance(error, KeyError) else error
            raise UserError(f'{source}: holds no calibration ({reason}); write it anew by sarlp recover') from None
        return calibration

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'Calibration':
        """Read the calibration of the record that ``sarlp recover`` wrote (``recovered.json``).

        Raises:
            UserError: no such file, or it holds none.
        """
        try:
            content = read_json(path)
        except FileNotFoundError:
            raise UserError(f'{path}: no such file; sarlp recover writes it beside recovered.csv') from None
        except ValueError as error:
            raise UserError(f'{path}: expected JSON, but it does not parse ({error})') from None
        return cls.from_json(content.get('calibration') if isinstance(content, dict) else None, path)


def require_enough(labels: np.ndarray, advice: str = _ADVICE, least: int = LEAST) -> None:
    """See that enough labels are known to calibrate on.

    Args:
        labels: of 1 / 0 / -1, those that the model is not trained on.
        advice: what to do, for the message.
        least: of each kind.

    Raises:
        UserError: there are too few.
    """
    positive, negative = int((labels == POSITIVE).sum()), int((labels == NEGATIVE).sum())
    if min(positive, negative) < least:
        raise UserError(
            'probabilities can not be calibrated: of the labels that the model was not trained on, '
            f'{positive} are known to be positive and {negative} negative, and {least} of each are the least; {advice}'
        )


def fit_calibration(
    scores: np.ndarray, labels: np.ndarray, classes: Sequence[str], method: str = 'temperature', least: int = LEAST
) -> Calibration:
    """Fit by the likelihood of known labels that the model was not trained on.

    Offsets of classes with few labels are drawn towards the common one, by a normal prior of standard deviation 1.

    Args:
        scores: (N, C) sigmoid scores.
        labels: (N, C) of 1 / 0 / -1.
        classes: C names.
        method: ``'temperature'``; or ``'isotonic'``, after it a monotone curve through the labels of all classes
            (A. Niculescu-Mizil and R. Caruana, ICML 2005), which wants some thousand labels.
        least: labels of each kind that there have to be.

    Raises:
        UserError: there are too few labels.
    """
    from scipy.sparse import csr_matrix, hstack  # here: who only predicts needs none of them, and they take a second
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    if method not in METHODS:
        raise UserError(f'the calibration must be one of {", ".join(METHODS)}, got {method!r}')
    images, columns = np.nonzero(labels != UNKNOWN)
    truth = labels[images, columns] == POSITIVE
    require_enough(labels, least=least)
    logits = _logits(scores)[images, columns]
    one_hot = csr_matrix((np.ones(len(columns)), (np.arange(len(columns)), columns)), (len(columns), len(classes)))

    def fit(features) -> LogisticRegression:
        return LogisticRegression(C=1.0, max_iter=1000).fit(features, truth)

    fitted = fit(hstack([csr_matrix(_UNPENALISED * logits[:, None]), one_hot]).tocsr())
    scale, offsets = _UNPENALISED * float(fitted.coef_[0, 0]), fitted.coef_[0, 1:]
    if scale <= 0:  # higher scores are no likelier: nothing but the share of positives remains
        fitted = fit(one_hot)
        scale, offsets = 0.0, fitted.coef_[0]
    both = [(labels == code).any(axis=0) for code in (POSITIVE, NEGATIVE)]
    calibration = Calibration(
        tuple(classes),
        scale,
        offsets + fitted.intercept_[0],
        undecided=tuple(name for name, *has in zip(classes, *both, strict=True) if not all(has)),
    )
    if method == 'isotonic':
        p = calibration.probabilities(scores)[images, columns]
        # never quite 0 or 1: the ends of the curve rest on few labels
        curve = IsotonicRegression(y_min=1 / (len(p) + 2), y_max=1 - 1 / (len(p) + 2), out_of_bounds='clip')
        curve.fit(p, truth)
        calibration = replace(calibration, knots=np.stack([curve.X_thresholds_, curve.y_thresholds_]))
    return calibration


def _logits(scores: np.ndarray) -> np.ndarray:
    scores = np.clip(np.asarray(scores, np.float64), CLIP, 1 - CLIP)
    return np.log(scores) - np.log1p(-scores)


def _numbers(values: Any, shape: tuple[int, ...], infinite: bool = False) -> np.ndarray:
    array = np.array(values, np.float64)
    if array.shape != shape or np.isnan(array).any() or (not infinite and np.isinf(array).any()):
        raise ValueError(f'expected {" x ".join(map(str, shape))} numbers')
    return array
