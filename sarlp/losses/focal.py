"""Focal loss (Lin et al., ICCV 2017), and with a margin (Zhang et al., arXiv 2112.07368), over the known labels."""

import torch.nn.functional as F
from torch import Tensor

from sarlp.losses.functional import read_target, reduce_known
from sarlp.losses.losses import MultiLabelLoss, require_exponent
from sarlp.registry import MODELS


def focal_term(logits: Tensor, gamma: float) -> Tensor:
    """``-(1 - s)^gamma log s`` of each logit, s = sigmoid(logit); the gradient flows through the weight as well."""
    return -(gamma * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)


@MODELS.register_module()
class FocalLoss(MultiLabelLoss):
    """Focal loss (eq. 4 of Lin et al., no balance of the classes), with a margin the focal margin loss of Zhang et al.

    Args:
        gamma: focusing exponent, >= 0.
        margin: taken from the logits of positives, so that those are pushed further.
        **kwargs: of :class:`~sarlp.losses.MultiLabelLoss`.
    """

    def __init__(self, gamma: float = 2.0, margin: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        require_exponent(gamma=gamma)
        self.gamma = gamma
        self.margin = margin

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, y, known = read_target(logits, target)
        each = y * focal_term(logits - self.margin, self.gamma) + (1 - y) * focal_term(-logits, self.gamma)
        return reduce_known(each, known, self.reduction)
