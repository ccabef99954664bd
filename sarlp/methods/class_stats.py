"""How often each class occurs, as far as the known labels tell."""

import numpy as np
import torch
from torch import Tensor

from sarlp.errors import UserError
from sarlp.methods.base import TaskInfo


def class_prior(task: TaskInfo, strength: float = 10.0) -> Tensor:
    """Probability that a class is there in a training image: ``(pos + a pi0) / (known + a)``.

    The known labels must be a fair sample of all labels, as those of ``RandomKnownLabels`` are. Of a class with few of
    them the share is noise, so it is drawn towards that of all classes together, pi0 = (sum of pos + 1) / (sum of
    known + 2); the posterior mean under a Beta distribution around pi0. It is therefore never 0 nor 1.

    Args:
        task: counts of the known labels.
        strength: a, how many known labels pi0 is worth, > 0.

    Returns:
        (C,) float32 in (0, 1), on the CPU.

    Raises:
        UserError: no class has a known negative, so that positives are all that the known labels can show.
    """
    if strength <= 0:
        raise ValueError(f'strength must be > 0, got {strength}')
    positive = np.asarray(task.known_positive, np.float64)
    known = positive + task.known_negative
    if not np.any(task.known_negative):
        raise UserError(
            f'how often the classes occur can not be told from the known labels: {int(positive.sum())} positives are '
            'known and no negative. Give the number to the method where it takes one, or train on data with known '
            'negatives'
        )
    pooled = (positive.sum() + 1) / (known.sum() + 2)
    return torch.from_numpy((positive + strength * pooled) / (known + strength)).float()
