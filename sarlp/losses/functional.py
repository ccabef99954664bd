"""Losses for tri-state and soft targets, as pure functions.

Every function takes logits and targets of the same shape. A target is a probability in [0, 1] (so 1 positive,
0 negative, anything between for pseudo labels) or -1 for unknown; unknown labels contribute neither value nor gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sarlp.labels import UNKNOWN

REDUCTIONS = ('none', 'sum', 'mean', 'mean_known')


def reduce_known(elementwise: Tensor, known: Tensor, reduction: str) -> Tensor:
    """Reduce a loss over the known labels.

    Args:
        elementwise: (B, C) float, loss of each label.
        known: (B, C) bool.
        reduction: ``'none'`` (B, C), unknown labels 0; ``'sum'`` over the known labels; ``'mean'`` that sum divided by
            B * C; ``'mean_known'`` that sum divided by the number of known labels. All are 0, never NaN, if no label
            is known.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be one of {REDUCTIONS}, got {reduction!r}')
    masked = torch.where(known, elementwise, torch.zeros_like(elementwise))
    if reduction == 'none':
        return masked
    if reduction == 'sum':
        return masked.sum()
    if reduction == 'mean':
        return masked.sum() / masked.numel()
    return masked.sum() / known.sum().clamp(min=1)


def read_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What every loss starts from.

    Args:
        logits: (B, C) float of any precision.
        target: (B, C), a probability in [0, 1] or -1 (unknown).

    Returns:
        The logits, at least float32; the target in their dtype, 0 where it is unknown; and (B, C) bool, whether it is
        known.
    """
    if logits.shape != target.shape:
        raise ValueError(f'logits and target must have one shape, got {tuple(logits.shape)} and {tuple(target.shape)}')
    known = target != UNKNOWN
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return logits, torch.where(known, target, torch.zeros_like(target)).to(logits.dtype), known


def asymmetric_loss(
    logits: Tensor,
    target: Tensor,
    gamma_neg: float,
    gamma_pos: float,
    clip: float,
    eps: float,
    reduction: str,
) -> Tensor:
    """Asymmetric loss (Ridnik et al., ICCV 2021, eq. 7) with unknown labels and soft targets.

    Args:
        logits: (B, C) float, before the sigmoid. Computed in float32 whatever the precision of the model.
        target: (B, C), a probability in [0, 1] or -1 (unknown).
        gamma_neg, gamma_pos: focusing exponents of negatives and positives, >= 0.
        clip: probability margin added to ``1 - sigmoid(logits)``, in [0, 1).
        eps: floor inside the logarithms.
        reduction: see :func:`reduce_known`.

    Returns:
        A scalar, or (B, C) for ``'none'``.
    """
    logits, y, known = read_target(logits, target)
    q = torch.sigmoid(logits)
    n = (1 - q + clip).clamp(max=1) if clip > 0 else 1 - q
    log_likelihood = y * torch.log(q.clamp(min=eps)) + (1 - y) * torch.log(n.clamp(min=eps))
    with torch.no_grad():  # the weight scales the gradient but is not differentiated
        distance = 1 - y * q - (1 - y) * n
        weight = distance.pow(gamma_pos * y + gamma_neg * (1 - y))
    return reduce_known(-weight * log_likelihood, known, reduction)


def binary_cross_entropy(logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Binary cross entropy over the known labels; arguments as in :func:`asymmetric_loss`."""
    logits, y, known = read_target(logits, target)
    return reduce_known(F.binary_cross_entropy_with_logits(logits, y, reduction='none'), known, reduction)
