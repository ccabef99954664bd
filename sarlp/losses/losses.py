"""Registered adapters of the functions in :mod:`sarlp.losses.functional`."""

import copy
from collections.abc import Sequence

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from sarlp.labels import UNKNOWN
from sarlp.losses.functional import REDUCTIONS, asymmetric_loss, binary_cross_entropy
from sarlp.registry import MODELS


class MultiLabelLoss(nn.Module):
    """Base of the losses: holds the reduction and the factor in front.

    The loss is that of the global batch. DDP averages gradients over the ranks, so a sum is multiplied by the number of
    ranks here; a mean needs nothing, since the ranks' batches have one size. So it is with the parts of a batch whose
    gradients are accumulated, which MMEngine divides by their number.

    Args:
        reduction: ``'sum'``, ``'mean'`` or ``'mean_known'``, see :func:`~sarlp.losses.functional.reduce_known`.
            ``'mean_known'`` is a mean within each rank, so its value depends on how the known labels fall on the ranks.
        loss_weight: factor in front.

    Attributes:
        parts: of a batch, whose gradients are accumulated; the run says how many.
    """

    parts: int = 1

    def __init__(self, reduction: str = 'mean_known', loss_weight: float = 1.0):
        super().__init__()
        if reduction not in REDUCTIONS[1:]:
            raise ValueError(f'reduction must be one of {REDUCTIONS[1:]}, got {reduction!r}')
        self.reduction = reduction
        self.loss_weight = loss_weight

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        raise TypeError(f'{type(self).__name__} has no value(logits, target); a loss defines it')

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of (B, C) logits against (B, C) targets in [0, 1] or -1 (unknown). Returns a scalar."""
        times = get_world_size() * self.parts if self.reduction == 'sum' else 1
        return self.value(logits, target) * (self.loss_weight * times)


def require_exponent(**exponents: float) -> None:
    """Raises: ValueError, one is below 0, which would turn the focus round."""
    for name, value in exponents.items():
        if not value >= 0:
            raise ValueError(f'{name} must be at least 0, got {value}')


@MODELS.register_module()
class AsymmetricLoss(MultiLabelLoss):
    """Asymmetric loss.

    Args:
        gamma_neg, gamma_pos, clip, eps, reduction: of :func:`~sarlp.losses.functional.asymmetric_loss`.
        scale: a factor of the reference, kept apart from ``loss_weight`` so that the weights in a config are those of
            the paper.
        **kwargs: of :class:`MultiLabelLoss`.
    """

    def __init__(
        self,
        gamma_neg: float = 2.0,
        gamma_pos: float = 0.0,
        clip: float = 0.0,
        eps: float = 1e-5,
        scale: float = 1000.0,
        reduction: str = 'sum',
        **kwargs,
    ):
        super().__init__(reduction, **kwargs)
        require_exponent(gamma_neg=gamma_neg, gamma_pos=gamma_pos)
        if not 0 <= clip < 1 or not eps > 0:
            raise ValueError(f'clip must lie in [0, 1) and eps above 0, got {clip} and {eps}')
        self.gamma_neg = gamma_neg
        self.gamma_pos = gamma_pos
        self.clip = clip
        self.eps = eps
        self.scale = scale

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.scale * asymmetric_loss(
            logits, target, self.gamma_neg, self.gamma_pos, self.clip, self.eps, self.reduction
        )


@MODELS.register_module()
class BinaryCrossEntropy(MultiLabelLoss):
    """Binary cross entropy over the known labels."""

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy(logits, target, self.reduction)


def computes_with_unknown(loss: nn.Module) -> bool:
    """Whether a loss takes the -1 of an unknown label for a number, as losses for complete labels do.

    What leaves unknown labels out, or assumes something of them, asks which they are, and goes on without their -1:
    its value does not change with it. False where a loss can not be asked.

    Args:
        loss: of logits (B, C) against targets (B, C); it is left as it was.
    """
    found = _slopes(loss, [0.3, -1.2, 2.0], [1, 0, UNKNOWN])
    return found is not None and bool(found[1][2] != 0)


def learns_unknown(loss: nn.Module) -> str:
    """What a loss takes unknown labels for: ``'positive'``, ``'negative'``, or ``''`` where it leaves them out.

    Args:
        loss: as of :func:`computes_with_unknown`; ``''`` where it can not be asked.
    """
    found = _slopes(loss, [0.3, -1.2, 2.0, -0.7], [1, 0, UNKNOWN, UNKNOWN])
    if found is None or not found[0][2:].any():
        return ''
    return 'positive' if found[0][2:].sum() < 0 else 'negative'


def is_turned_round(loss: nn.Module) -> bool:
    """Whether a loss rises with the score of a positive label and falls with that of a negative one, whatever they are.

    Args:
        loss: as of :func:`computes_with_unknown`; False where it can not be asked.
    """
    found = _slopes(loss, [-1.2, 0.3, 2.0, -1.2, 0.3, 2.0], [1, 1, 1, 0, 0, 0])
    return found is not None and bool((found[0][:3] > 0).all() and (found[0][3:] < 0).all())


def _slopes(loss: nn.Module, logits: Sequence[float], target: Sequence[float]) -> tuple[Tensor, Tensor] | None:
    """How a loss changes with each logit and each target of an image, (C,) each; None where it can not be asked."""
    given = [torch.tensor([values], dtype=torch.float32, requires_grad=True) for values in (logits, target)]
    try:
        with torch.enable_grad():
            value = copy.deepcopy(loss)(*(values.clone() for values in given)).sum()
        slopes = torch.autograd.grad(value, given, allow_unused=True)
    except Exception:  # of a loss of other arguments or so many classes, whatever it is
        return None
    one, other = (torch.zeros_like(v) if slope is None else slope for v, slope in zip(given, slopes, strict=True))
    return one[0], other[0]
