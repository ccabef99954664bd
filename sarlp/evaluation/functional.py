"""Metrics of multi-label recognition as pure functions of numpy arrays.

Axis legend: ``N`` images, ``C`` classes, ``M`` (image, class) pairs that count. Label codes are those of
:mod:`sarlp.labels`: 1 positive, 0 negative, -1 unknown. A pair that is unknown or ignored counts nowhere. All results
are fractions, not percent.

Arrays may be in memory or mapped from files (``numpy.load(path, mmap_mode='r')``). They are read in parts by
:mod:`sarlp.evaluation.blocks`, in several threads; the results depend neither on the parts nor on the threads. Beside
its inputs a function needs 0.3 GB, with mapped ones 1.1 GB, and some 50 MB a thread.

What is left open by the definitions is settled here once:

- **Tied scores** are one step of the precision-recall curve: pairs of equal score are taken in together, since no
  threshold separates them. No result therefore depends on the order of the images.
- **A class is chosen** if its score reaches the threshold (:func:`~sarlp.labels.is_chosen`).
- **Top k**: the k highest scores of an image are kept *and* must reach the threshold. They are ranked among all
  classes, those ignored or unknown in the image included: a model that ranks an ignored object first has spent one of
  its k answers. (Both as in the authors' released code.) For the k highest scores whatever their value, pass
  ``threshold=-numpy.inf``.
"""

import numpy as np

from sarlp.evaluation.blocks import LabelledScores
from sarlp.labels import POSITIVE, UNKNOWN, is_chosen

_POOL_BYTES = 1 << 27  # scores that are sorted together where all classes are pooled
_KINDS = ('voc12', 'plain')


def average_precision(
    scores: np.ndarray,
    targets: np.ndarray,
    ignore: np.ndarray | None = None,
    kind: str = 'voc12',
    threads: int | None = None,
) -> np.ndarray:
    """Average precision of each class, over the images whose label is known.

    Args:
        scores: (N, C) floating point, no NaN. Only their order within a class matters.
        targets: (N, C) of 1 / 0 / -1; -1 (unknown) is left out exactly as an ignored pair is.
        ignore: (N, C) bool (or 0 / 1), True where the pair is left out.
        kind: ``'voc12'`` makes the precision monotone from the right and sums it over the steps of recall.
            ``'plain'`` sums the precision itself (non-interpolated; what the authors' code calls voc07).
        threads: threads to use; None for one a core that this process may use.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without a known positive.

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, an unknown ``kind``.
    """
    return average_precision_of_kinds(scores, targets, ignore, (kind,), threads)[kind]


def average_precision_of_kinds(
    scores: np.ndarray,
    targets: np.ndarray,
    ignore: np.ndarray | None = None,
    kinds: tuple[str, ...] = _KINDS,
    threads: int | None = None,
) -> dict[str, np.ndarray]:
    """:func:`average_precision` in several definitions for the price of one; keys are the ``kinds``."""
    for kind in kinds:
        if kind not in _KINDS:
            raise ValueError(f'kind must be one of {", ".join(map(repr, _KINDS))}, but is {kind!r}')

    def areas(scores: np.ndarray, labels: np.ndarray) -> list[float]:
        positive = np.sort(scores[labels == POSITIVE])
        precision = _precision(positive, _at_least(positive, _known(scores, labels)))
        return [_area(precision, kind) for kind in kinds]

    pairs = LabelledScores(scores, targets, ignore, threads=threads)
    by_class = np.array(pairs.per_class(areas), np.float64).reshape(-1, len(kinds))
    return dict(zip(kinds, by_class.T.copy(), strict=True))


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
    threads: int | None = None,
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
        top_k: None, or keep only the k >= 1 highest scores of an image, which must reach the threshold as well.
            Of equal scores the class with the lower index is kept.
        threads: threads to use; None for one a core that this process may use.

    Returns:
        dict of float with the keys ``CP CR CF1 OP OR OF1``, in [0, 1].

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, a NaN threshold, ``top_k`` below 1.
    """
    _check_threshold(threshold)
    if top_k is not None and (int(top_k) != top_k or top_k < 1):
        raise ValueError(f'top_k must be None or a whole number of at least 1, but is {top_k!r}')
    pairs = LabelledScores(scores, targets, ignore, threads=threads)
    num_classes = pairs.shape[1]
    kept = num_classes if top_k is None else min(int(top_k), num_classes)

    def counts(band: slice) -> np.ndarray:
        total = np.zeros((3, num_classes), np.int64)
        for tile in pairs.tiles(band):
            total += _counts(tile.scores, tile.labels, threshold, kept)
        return total

    true_positives, predicted, positives = sum(pairs.map(counts, pairs.bands()), np.zeros((3, num_classes), np.int64))
    seen = positives > 0
    if not seen.any():
        cp = cr = float('nan')
    else:
        cp = float((true_positives[seen] / np.maximum(predicted[seen], 1)).mean())
        cr = float((true_positives[seen] / positives[seen]).mean())
    op, recall = _precision_recall(int(true_positives.sum()), int(predicted.sum()), int(positives.sum()))
    return {'CP': cp, 'CR': cr, 'CF1': _f1(cp, cr), 'OP': op, 'OR': recall, 'OF1': _f1(op, recall)}


def label_recovery(
    scores: np.ndarray,
    observed: np.ndarray,
    full: np.ndarray,
    threshold: float = 0.5,
    threads: int | None = None,
) -> dict[str, float | int]:
    """How well the labels that were hidden are recovered.

    Counted are the hidden pairs alone: unknown in ``observed``, known in ``full``. The scores of the hidden positives
    are kept for ``AP_micro``, at some 30 bytes each and 16 a thread.

    Args:
        scores: (N, C) floating point, no NaN.
        observed: (N, C) of 1 / 0 / -1, the labels the model was given.
        full: (N, C) of 1 / 0 / -1, the complete labels; -1 where the truth is not known either.
        threshold: a label is recovered as positive if its score is strictly greater.
        threads: threads to use; None for one a core that this process may use.

    Returns:
        dict with ``AP`` (mean over classes of the voc12 average precision over a class's hidden pairs), ``AP_micro``
        (voc12 over all hidden pairs pooled), ``precision``, ``recall``, ``F1`` (pooled, at the threshold; NaN recall
        and F1 if no hidden label is positive, precision 0 if nothing is predicted), ``hidden`` (number of hidden
        pairs), ``hidden_positive`` (those of them that are positive), ``classes_left_out`` (of ``AP``, having no
        hidden positive). If nothing is hidden the numbers of pairs are 0 and all measures NaN.

    Raises:
        ValueError: shapes that differ, a NaN score, an illegal label code, a NaN threshold.
    """
    _check_threshold(threshold)
    pairs = LabelledScores(scores, full, observed=observed, names=('full', 'observed'), threads=threads)

    def of_class(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        positive = np.sort(scores[labels == POSITIVE])
        precision = _precision(positive, _at_least(positive, _known(scores, labels)))
        return _area(precision, 'voc12'), positive

    by_class = pairs.per_class(of_class)
    mean_ap, left_out = mean_average_precision(np.array([area for area, _ in by_class]))
    positive = np.concatenate([np.empty(0, pairs.dtype), *(scores for _, scores in by_class)])
    del by_class
    positive.sort()

    def pooled(band: slice) -> tuple[int, int, np.ndarray]:
        known = np.concatenate([tile.scores[tile.labels != UNKNOWN] for tile in pairs.tiles(band)])
        return known.size, int(is_chosen(known, threshold).sum()), _at_least(positive, known)

    hidden, predicted, at_least = 0, 0, np.zeros(positive.size, np.int64)
    for size, above, at_least_here in pairs.map(pooled, pairs.bands(_POOL_BYTES)):
        hidden += size
        predicted += above
        at_least += at_least_here
    precision, recall = _precision_recall(int(is_chosen(positive, threshold).sum()), predicted, positive.size)
    return {
        'AP': mean_ap,
        'AP_micro': _area(_precision(positive, at_least), 'voc12'),
        'precision': precision if hidden else float('nan'),
        'recall': recall,
        'F1': _f1(precision, recall) if hidden else float('nan'),
        'hidden': hidden,
        'hidden_positive': int(positive.size),
        'classes_left_out': left_out,
    }


def _known(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores of the pairs that count; the input itself where that is all of them."""
    known = labels != UNKNOWN
    return scores if known.all() else scores[known]


def _at_least(positive: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How many of the ``known`` scores, which are sorted in place, reach each of the sorted ``positive`` ones."""
    known.sort()
    return known.size - np.searchsorted(known, positive, side='left')


def _precision(positive: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Precision of the threshold at the score of each positive.

    Between two scores of positives precision only falls, so neither definition of average precision needs the steps in
    between, and two plain sorts do instead of one argument sort over all pairs.

    Args:
        positive: (P,) scores of the positives, from the lowest up.
        predicted: (P,) int, how many of all scores reach that of each.
    """
    return (positive.size - np.searchsorted(positive, positive, side='left')) / predicted


def _area(precision: np.ndarray, kind: str) -> float:
    """Precision summed over the steps of recall, each positive being one; NaN without a positive."""
    if not precision.size:
        return float('nan')
    # lowest score, highest recall first: the running maximum is the one over all higher recalls
    return float((np.maximum.accumulate(precision) if kind == 'voc12' else precision).sum() / precision.size)


def _counts(scores: np.ndarray, labels: np.ndarray, threshold: float, top_k: int) -> np.ndarray:
    """True positives, predicted pairs and positives of each class in at most 255 images: (3, C) uint8."""
    positive = labels == POSITIVE
    predicted = is_chosen(scores, threshold)
    if top_k < scores.shape[1]:
        predicted &= _top_k(scores, top_k)
    # a sum in bytes is several times faster than one in numpy's default, 64 bits
    return np.stack(
        [
            np.add.reduce(chosen.view(np.uint8), axis=0, dtype=np.uint8)
            for chosen in (predicted & positive, predicted & (labels != UNKNOWN), positive)
        ]
    )


def _top_k(scores: np.ndarray, top_k: int) -> np.ndarray:
    """(n, C) bool with ``top_k`` < C True a row: the highest scores, of equal ones those of lower index."""
    num_images, num_classes = scores.shape
    kth = np.partition(scores, num_classes - top_k, axis=1)[:, num_classes - top_k, None]
    chosen = scores >= kth
    if np.count_nonzero(chosen) > top_k * num_images:  # some rows have a tie at the k-th place
        (tied,) = np.nonzero(np.count_nonzero(chosen, axis=1) > top_k)
        higher, equal = scores[tied] > kth[tied], scores[tied] == kth[tied]
        room = top_k - np.count_nonzero(higher, axis=1, keepdims=True)
        chosen[tied] = higher | (equal & (np.cumsum(equal, axis=1) <= room))
    return chosen


def _precision_recall(true_positives: int, predicted: int, positives: int) -> tuple[float, float]:
    return true_positives / max(predicted, 1), (true_positives / positives if positives else float('nan'))


def _f1(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total != 0 else 0.0  # NaN stays NaN


def _check_threshold(threshold: float) -> None:
    if np.isnan(threshold):
        raise ValueError('threshold must be a number, but is NaN')
