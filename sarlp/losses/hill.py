"""Hill loss (Zhang et al., arXiv 2112.07368)."""

from torch import Tensor

from sarlp.losses.focal import focal_term
from sarlp.losses.functional import read_target, reduce_known
from sarlp.losses.losses import MultiLabelLoss, require_exponent
from sarlp.registry import MODELS


@MODELS.register_module()
class HillLoss(MultiLabelLoss):
    """Focal margin loss of the positives; ``(peak - s) s^2`` of the negatives, with s = sigmoid(logit).

    The loss of a negative has a largest value, and its gradient fades as s comes near 1: a label that is called
    negative, of which the network is sure that it is positive, is let go. Of verified negatives there is no such doubt.

    Args:
        peak: lambda of the paper. Below 1.5 the gradient turns round before s is 1.
        margin, gamma: of the positives, as in :class:`~sarlp.losses.focal.FocalLoss`.
        reduction: see :class:`~sarlp.losses.MultiLabelLoss`.
        **kwargs: of :class:`~sarlp.losses.MultiLabelLoss`.
    """

    def __init__(self, peak: float = 1.5, margin: float = 1.0, gamma: float = 2.0, reduction: str = 'sum', **kwargs):
        super().__init__(reduction, **kwargs)
        self.peak = peak
        self.margin = margin
        require_exponent(gamma=gamma)
        self.gamma = gamma

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, y, known = read_target(logits, target)
        score = logits.sigmoid()
        each = y * focal_term(logits - self.margin, self.gamma) + (1 - y) * (self.peak - score) * score**2
        return reduce_known(each, known, self.reduction)
