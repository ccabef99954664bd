"""Joint label recovery (METHOD: SARLP, 3; arXiv 2510.10055)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.labels import UNKNOWN
from sarlp.registry import MODELS


def pseudo_targets(logits: Tensor, target: Tensor) -> Tensor:
    """Targets of the recovery loss: the label where it is known, the model's own belief where it is not.

    ``sigmoid(z_c * max over classes of z)`` for an unknown label: the more certain the model is of the most certain
    class of the image, the sharper the belief about all of them. No gradient flows through it.

    Args:
        logits: (B, C) class logits z.
        target: (B, C) of 1 / 0 / -1.

    Returns:
        (B, C) in [0, 1].
    """
    logits = logits.detach().float()
    belief = torch.sigmoid(logits * logits.max(1, keepdim=True).values)
    return torch.where(target == UNKNOWN, belief, target.to(belief.dtype))


@MODELS.register_module()
class LabelRecovery(BaseModule):
    """A second classifier on the tokens that learns from :func:`pseudo_targets`.

    Args:
        num_classes: number of classes C.
        token_dim: token width D.
        loss: config of the loss on the recovered labels.
    """

    def __init__(self, num_classes: int, token_dim: int, loss: dict, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.score = nn.Linear(token_dim, num_classes)
        self.loss_module = MODELS.build(loss)

    def forward(self, tokens: Tensor) -> Tensor:
        """Args: tokens (B, P, D). Returns the recovery logits m (B, C), the maximum over the tokens."""
        return self.score(tokens).max(1).values

    def loss(self, recovery_logits: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Args: all (B, C); recovery logits m, class logits z, labels 1 / 0 / -1. Returns a scalar."""
        return self.loss_module(recovery_logits, pseudo_targets(logits, target))
