"""Binary cross entropy against smoothed labels."""

import torch
from torch import Tensor

from sarlp.labels import UNKNOWN
from sarlp.losses.functional import binary_cross_entropy
from sarlp.losses.losses import MultiLabelLoss
from sarlp.registry import MODELS


@MODELS.register_module()
class SmoothedBCE(MultiLabelLoss):
    """Binary cross entropy where 1 becomes ``1 - smoothing`` and 0 becomes ``smoothing``.

    Args:
        smoothing: in [0, 0.5]. Both sides move by all of it, as in the code of Cole et al. (CVPR 2021), and not by a
            half, as the usual smoothing of two classes has it.
        **kwargs: of :class:`~sarlp.losses.MultiLabelLoss`.
    """

    def __init__(self, smoothing: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= smoothing <= 0.5:
            raise ValueError(f'smoothing must lie in [0, 0.5], got {smoothing}')
        self.smoothing = smoothing

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        smooth = self.smoothing + (1 - 2 * self.smoothing) * target
        return binary_cross_entropy(logits, torch.where(target == UNKNOWN, target, smooth), self.reduction)
