"""Known labels that the model contradicts, and how much its word is worth there."""

from collections.abc import Mapping, Sequence

import numpy as np

from sarlp.apps.completion.record import HELD_OUT, IN_SAMPLE, Record, Suspect
from sarlp.apps.completion.scoring import Scored
from sarlp.labels import DECISIONS, NEGATIVE, POSITIVE, UNKNOWN


def doubts(scores: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """How far each known label is from what the model says.

    It is one minus the self-confidence of C. G. Northcutt et al. (Confident Learning, JAIR 2021), of the label by
    itself. Scores are better here than calibrated probabilities: the offsets that calibration gives to the classes
    rest on the very labels that are doubted, and its curve makes many of the surest equal (docs/results.md).

    Args:
        scores: (N, C) in [0, 1], best of a model that has not seen the label.
        observed: (N, C) of 1 / 0 / -1.

    Returns:
        (N, C) in [0, 1]; NaN where nothing is known.
    """
    return np.where(observed == UNKNOWN, np.nan, np.where(observed == POSITIVE, 1 - scores, scores))


def can_be_judged(observed: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Whether the model of an image has seen another label of the same class and kind: else it can but contradict.

    Args:
        observed: (N, C) of 1 / 0 / -1.
        fold: (N,) int; the model of an image was trained on the other folds.

    Returns:
        (N, C) bool; False of unknown labels.
    """
    judged = np.zeros(observed.shape, bool)
    for code in (POSITIVE, NEGATIVE):
        there = observed == code
        own = np.stack([there[fold == k].sum(axis=0) for k in range(fold.max() + 1)])
        judged |= there & (own.sum(axis=0) > own)[fold]
    return judged


def find_suspects(
    scored: Scored,
    probabilities: np.ndarray,
    classes: Sequence[str],
    most: float,
    evidence: Mapping[str, str],
    judged: np.ndarray,
) -> list[Suspect]:
    """The known labels to which the model gives at most a probability, the most doubted first (:func:`doubts`).

    Args:
        scored: N images.
        probabilities: (N, C), the scores calibrated.
        classes: C names.
        most: the probability.
        evidence: of each image, see :func:`evidence_of`.
        judged: (N, C) bool, see :func:`can_be_judged`; others are no suspects.
    """
    doubt = doubts(scored.scores, scored.observed)
    of_label = doubts(1 - probabilities, scored.observed)
    rows, columns = np.nonzero((of_label <= most) & judged)
    order = np.argsort(-doubt[rows, columns], kind='stable')
    return [
        Suspect(
            scored.image_ids[row],
            classes[column],
            DECISIONS[int(scored.observed[row, column])],
            float(probabilities[row, column]),
            float(doubt[row, column]),
            evidence[scored.image_ids[row]],
        )
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def evidence_of(record: Record, by_split: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By image whose score it has, as :class:`~sarlp.apps.completion.record.Suspect` says it.

    Args:
        record: of the completion.
        by_split: the images of each split. Without folds one model, trained on the training split, scored them all.
    """
    if record.folds is None:
        words = {'train': IN_SAMPLE, 'test': HELD_OUT}
        return {image: words[split] for split, images in by_split.items() for image in images}
    return {
        image: f'fold {record.fold_of(image) + 1} of {record.folds}' for images in by_split.values() for image in images
    }
