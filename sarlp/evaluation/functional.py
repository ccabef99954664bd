"""Metrics of multi-label recognition as pure functions of numpy arrays.

Axis legend: ``N`` images, ``C`` classes, ``M`` (image, class) pairs that count. Label codes are those of
:mod:`sarlp.labels`: 1 positive, 0 negative, -1 unknown. A pair that is unknown or ignored counts nowhere. All results
are fractions, not percent.

What is left open by the definitions is settled here once:

- **Tied scores** are one step of the precision-recall curve: pairs of equal score are taken in together, since no
  threshold separates them. No result therefore depends on the order of the images.
- **A score is above the threshold** if it is strictly greater.
- **Top k**: the k highest scores of an image are kept *and* must be above the threshold. They are ranked among all
  classes, those ignored or unknown in the image included: a model that ranks an ignored object first has spent one of
  its k answers. (Both as in the authors' released code.) For the k highest scores whatever their value, pass
  ``threshold=-numpy.inf``.
"""

from collections.abc import Iterator

import numpy as np

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

# Pairs looked at together: bounds the temporary memory to some tens of megabytes for any N and C.
_BLOCK_PAIRS = 1 << 22
_KINDS = ('voc12', 'plain')


def average_precision(
    scores: np.ndarray, targets: np.ndarray, ignore: np.ndarray | None = None, kind: str = 'voc12'
) -> np.ndarray:
    """Average precision of each class, over the images whose label is known.

    Args:
        scores: (N, C) floating point, no NaN. Only their order within a class matters.
        targets: (N, C) of 1 / 0 / -1; -1 (unknown) is left out exactly as an ignored pair is.
        ignore: (N, C) bool (or 0 / 1), True where the pair is left out.
        kind: ``'voc12'`` makes the precision monotone from the right and sums it over the steps of recall.
            ``'plain'`` sums the precision itself (non-interpolated; what the authors' code calls voc07).

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without a known positive.

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, an unknown ``kind``.
    """
    if kind not in _KINDS:
        raise ValueError(f'kind must be one of {", ".join(map(repr, _KINDS))}, but is {kind!r}')
    return average_precision_of_kinds(scores, targets, ignore, (kind,))[kind]


def average_precision_of_kinds(
    scores: np.ndarray, targets: np.ndarray, ignore: np.ndarray | None = None, kinds: tuple[str, ...] = _KINDS
) -> dict[str, np.ndarray]:
    """:func:`average_precision` in several definitions for the price of one; keys are the ``kinds``."""
    scores, targets, ignore = _check_arrays(scores, targets, ignore)
    num_images, num_classes = scores.shape
    result = {kind: np.full(num_classes, np.nan) for kind in kinds}
    for block in _blocks(num_classes, num_images):
        # one contiguous row a class, since sorting strided columns is several times slower
        block_scores = np.ascontiguousarray(scores[:, block].T)
        block_labels = _known_labels(targets[:, block], None if ignore is None else ignore[:, block]).T
        for offset, (class_scores, class_labels) in enumerate(zip(block_scores, block_labels, strict=True)):
            known = class_scores[class_labels != UNKNOWN]
            curve = _precision_at_positives(known, class_scores[class_labels == POSITIVE])
            for kind in kinds:
                result[kind][block.start + offset] = _area(*curve, kind)
    return result


def mean_average_precision(ap: np.ndarray) -> tuple[float, int]:
    """Mean over the classes that have an average precision.

    Args:
        ap: (C,) float, NaN for a class without positives.

    Returns:
        The mean (NaN if no class has a value) and the number of classes left out of it.
    """
    ap = np.asarray(ap, np.float64)
    defined = ap[~np.isnan(ap)]
    return (float(defined.mean()) if defined.size else float('nan')), int(ap.size - defined.size)


def f1_family(
    scores: np.ndarray,
    targets: np.ndarray,
    ignore: np.ndarray | None = None,
    threshold: float = 0.5,
    top_k: int | None = None,
) -> dict[str, float]:
    """Precision, recall and F1, per class (C...) and over all (O...).

    CP and CR are means over the classes, CF1 = 2 CP CR / (CP + CR), which is not the mean of the classes' F1. OP and
    OR come from the sums over all classes.

    A class without a known positive is left out of CP and CR, as it is of the mean average precision; its false
    predictions count in OP. A class with positives that is never predicted has precision 0, so a model gains nothing
    by never answering. F1 is 0 where precision and recall are. Without any known positive CP, CR, OR and what follows
    from them are NaN. (These cases do not occur on the field's data sets, nor in the numbers tested against the
    authors' code, so they make no published number incomparable.)

    Args:
        scores: (N, C) floating point, no NaN.
        targets: (N, C) of 1 / 0 / -1; -1 (unknown) is left out exactly as an ignored pair is.
        ignore: (N, C) bool (or 0 / 1), True where the pair is left out.
        threshold: a pair is predicted if its score is strictly greater.
        top_k: None, or keep only the k >= 1 highest scores of an image, which must be above the threshold as well.
            Of equal scores the class with the lower index is kept.

    Returns:
        dict of float with the keys ``CP CR CF1 OP OR OF1``, in [0, 1].

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, a NaN threshold, ``top_k`` below 1.
    """
    scores, targets, ignore = _check_arrays(scores, targets, ignore)
    _check_threshold(threshold)
    if top_k is not None and (int(top_k) != top_k or top_k < 1):
        raise ValueError(f'top_k must be None or a whole number of at least 1, but is {top_k!r}')
    num_images, num_classes = scores.shape
    true_positives, predicted, positives = np.zeros((3, num_classes), np.int64)
    for block in _blocks(num_images, num_classes):
        labels = _known_labels(targets[block], None if ignore is None else ignore[block])
        above = scores[block] > threshold
        if top_k is not None:
            above &= _top_k(scores[block], int(top_k))
        true_positives += (above & (labels == POSITIVE)).sum(0)
        predicted += (above & (labels != UNKNOWN)).sum(0)
        positives += (labels == POSITIVE).sum(0)

    seen = positives > 0
    if not seen.any():
        cp = cr = float('nan')
    else:
        cp = float((true_positives[seen] / np.maximum(predicted[seen], 1)).mean())
        cr = float((true_positives[seen] / positives[seen]).mean())
    op, recall = _precision_recall(int(true_positives.sum()), int(predicted.sum()), int(positives.sum()))
    return {'CP': cp, 'CR': cr, 'CF1': _f1(cp, cr), 'OP': op, 'OR': recall, 'OF1': _f1(op, recall)}


def label_recovery(
    scores: np.ndarray, observed: np.ndarray, full: np.ndarray, threshold: float = 0.5
) -> dict[str, float | int]:
    """How well the labels that were hidden are recovered.

    Counted are the hidden pairs alone: unknown in ``observed``, known in ``full``.

    Args:
        scores: (N, C) floating point, no NaN.
        observed: (N, C) of 1 / 0 / -1, the labels the model was given.
        full: (N, C) of 1 / 0 / -1, the complete labels; -1 where the truth is not known either.
        threshold: a label is recovered as positive if its score is strictly greater.

    Returns:
        dict with ``AP`` (mean over classes of the voc12 average precision over a class's hidden pairs), ``AP_micro``
        (voc12 over all hidden pairs pooled), ``precision``, ``recall``, ``F1`` (pooled, at the threshold; NaN recall
        and F1 if no hidden label is positive, precision 0 if nothing is predicted), ``hidden`` (number of hidden
        pairs), ``hidden_positive`` (those of them that are positive), ``classes_left_out`` (of ``AP``, having no
        hidden positive). If nothing is hidden the numbers of pairs are 0 and all measures NaN.

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, a NaN threshold.
    """
    scores, observed, _ = _check_arrays(scores, observed, None, 'observed')
    _, full, _ = _check_arrays(scores, full, None, 'full')
    _check_threshold(threshold)
    labels = np.where(observed == UNKNOWN, full, UNKNOWN).astype(np.int8)
    hidden = labels != UNKNOWN
    mean_ap, left_out = mean_average_precision(average_precision(scores, labels))

    hidden_scores = scores[hidden]
    hidden_labels = labels[hidden]
    positive_scores = hidden_scores[hidden_labels == POSITIVE]
    true_positives = int((positive_scores > threshold).sum())
    precision, recall = _precision_recall(true_positives, int((hidden_scores > threshold).sum()), positive_scores.size)
    if not hidden_scores.size:
        precision = float('nan')
    return {
        'AP': mean_ap,
        'AP_micro': _area(*_precision_at_positives(hidden_scores, positive_scores), 'voc12'),
        'precision': precision,
        'recall': recall,
        'F1': _f1(precision, recall),
        'hidden': int(hidden_scores.size),
        'hidden_positive': int(positive_scores.size),
        'classes_left_out': left_out,
    }


def _precision_at_positives(known_scores: np.ndarray, positive_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The precision-recall curve at the steps where recall rises.

    Between two such steps precision only falls, so neither definition of average precision needs those in between,
    and two plain sorts do instead of one argument sort over all pairs.

    Args:
        known_scores: (M,) scores of all pairs that count.
        positive_scores: scores of the positive ones among them.

    Returns:
        Precision and gained true positives at each distinct positive score, from the highest score down.
    """
    steps, gained = np.unique(positive_scores, return_counts=True)
    predicted = known_scores.size - np.searchsorted(np.sort(known_scores), steps, side='left')
    gained = gained[::-1]
    return np.cumsum(gained) / predicted[::-1], gained


def _area(precision: np.ndarray, gained: np.ndarray, kind: str) -> float:
    """Sum of precision over the steps of recall; NaN without a positive."""
    if not gained.size:
        return float('nan')
    if kind == 'voc12':
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * gained).sum() / gained.sum())


def _top_k(scores: np.ndarray, top_k: int) -> np.ndarray:
    """(n, C) bool with exactly min(k, C) True a row: the highest scores, of equal ones those of lower index."""
    num_classes = scores.shape[1]
    if top_k >= num_classes:
        return np.ones(scores.shape, bool)
    kth = np.partition(scores, num_classes - top_k, axis=1)[:, num_classes - top_k, None]
    higher = scores > kth
    equal = scores == kth
    return higher | (equal & (np.cumsum(equal, axis=1) <= top_k - higher.sum(1, keepdims=True)))


def _precision_recall(true_positives: int, predicted: int, positives: int) -> tuple[float, float]:
    return true_positives / max(predicted, 1), (true_positives / positives if positives else float('nan'))


def _f1(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total != 0 else 0.0  # NaN stays NaN


def _known_labels(targets: np.ndarray, ignore: np.ndarray | None) -> np.ndarray:
    """A block of labels with ignored pairs made unknown."""
    return targets if ignore is None else np.where(ignore, np.asarray(UNKNOWN, targets.dtype), targets)


def _blocks(length: int, width: int) -> Iterator[slice]:
    """Slices that cut an axis of ``length`` so that each holds about ``_BLOCK_PAIRS`` entries of ``width``."""
    step = max(1, _BLOCK_PAIRS // max(1, width))
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _check_threshold(threshold: float) -> None:
    if np.isnan(threshold):
        raise ValueError('threshold must be a number, but is NaN')


def _check_arrays(
    scores: np.ndarray, targets: np.ndarray, ignore: np.ndarray | None, name: str = 'targets'
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Arrays of the right shapes and legal values, or an error that names what is wrong. Nothing is copied."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2:
        raise ValueError(f'scores must have the shape (images, classes), but have {scores.shape}')
    if not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f'scores must be floating point, but are {scores.dtype}')
    if targets.shape != scores.shape:
        raise ValueError(f'{name} must have the shape of the scores {scores.shape}, but have {targets.shape}')
    if ignore is not None:
        ignore = np.asarray(ignore)
        if ignore.shape != scores.shape:
            raise ValueError(f'ignore must have the shape of the scores {scores.shape}, but has {ignore.shape}')
        if ignore.dtype != bool and not np.isin(ignore, (0, 1)).all():
            raise ValueError('ignore must hold only True and False, or 1 and 0')
        ignore = ignore.astype(bool, copy=False)
    for block in _blocks(*scores.shape):
        nan = np.isnan(scores[block])
        if nan.any():
            row, column = np.argwhere(nan)[0]
            raise ValueError(f'scores hold a NaN, first at image {block.start + row}, class {column}')
        labels = targets[block]
        illegal = (labels != POSITIVE) & (labels != NEGATIVE) & (labels != UNKNOWN)
        if illegal.any():
            row, column = np.argwhere(illegal)[0]
            raise ValueError(
                f'{name} must be {POSITIVE} (positive), {NEGATIVE} (negative) or {UNKNOWN} (unknown), but hold '
                f'{labels[row, column]} at image {block.start + row}, class {column}'
            )
    return scores, targets, ignore
