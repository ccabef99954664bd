"""From scores to pseudo-labels, and the thresholds between them."""

import torch
from torch import Tensor

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN


def check_confidence(threshold: float) -> float:
    """The threshold of a method that takes a label from the probability ``threshold`` on, and the other one likewise.

    Raises:
        UserValueError: by which a label could be both.
    """
    if not 0.5 < threshold <= 1:
        raise UserValueError(f'model.method.threshold must be above 0.5 and at most 1, got {threshold}')
    return threshold


def pseudo_labels(scores: Tensor, observed: Tensor, upper: Tensor | float, lower: Tensor | float) -> Tensor:
    """Labels of what is unknown: 1 from ``upper`` on, 0 up to ``lower``, -1 between, and where both are true.

    Args:
        scores: (B, C), no gradient flows through it.
        observed: (B, C) of 1 / 0 / -1; a known label gets no other, and is -1 here.
        upper, lower: a threshold, or (C,) of them; inf and -inf choose nothing.

    Returns:
        (B, C) float32 of 1 / 0 / -1.
    """
    scores = scores.detach().float()
    positive, negative = scores >= upper, scores <= lower
    chosen = (positive != negative) & (observed == UNKNOWN)
    return torch.where(chosen, positive.float(), torch.full_like(scores, UNKNOWN))


def count_threshold(scores: Tensor, count: int) -> float:
    """The lowest of the ``count`` highest scores; inf, which no score reaches, for none.

    Args:
        scores: (n,).
        count: in [0, n]. Scores that are equal to the threshold may be more.
    """
    return scores.topk(count).values[-1].item() if count else float('inf')


def f_beta_threshold(
    scores: Tensor, labels: Tensor, beta: float, step: float = 0.01, squared_below: bool = True
) -> float:
    """The threshold from which on a positive label has the best F_beta; the highest of several, as the safest.

    Args:
        scores: (n,) in [0, 1].
        labels: (n,) of 1 / 0.
        beta: weight of the recall, > 0; below 1 the precision counts for more.
        step: between the thresholds that are tried, in (0, 1); they lie strictly between 0 and 1.
        squared_below: ``(1 + beta^2) P R / (beta^2 P + R)``, which is F_beta. False takes ``beta P + R`` below.

    Returns:
        inf if there is no positive, or none that any of the thresholds finds.
    """
    grid = torch.arange(1, round(1 / step), dtype=torch.float64, device=scores.device) * step
    found = scores.double()[:, None] >= grid
    hits = (found & (labels == 1)[:, None]).sum(0).double()
    precision, recall = hits / found.sum(0).clamp(min=1), hits / (labels == 1).sum().clamp(min=1)
    below = (beta**2 if squared_below else beta) * precision + recall
    # where nothing is hit both are 0
    quality = (1 + beta**2) * precision * recall / torch.where(hits > 0, below, torch.ones_like(below))
    best = quality.max() if len(scores) else quality.new_zeros(())
    return grid[quality == best][-1].item() if best > 0 else float('inf')
