"""Partial binary cross entropy (Durand et al., CVPR 2019, eq. 1 and 2)."""

import torch.nn.functional as F
from torch import Tensor

from sarlp.losses.functional import read_target, reduce_known
from sarlp.losses.losses import MultiLabelLoss
from sarlp.registry import MODELS


@MODELS.register_module()
class PartialBCE(MultiLabelLoss):
    """Binary cross entropy whose weight grows as fewer labels are known: ``g(p) = alpha p^gamma + beta``.

    Other losses go by the name of this paper; the weight ``1 + 1 / (1 + number known)`` of some is not this one. The
    mean over the known labels of each image is ``alpha=0, beta=1, per_known=True``.

    Args:
        alpha, beta, gamma: of the weight. With the defaults g is 1 where all labels are known, and 5 at a tenth.
        per_image: p is the share of known labels of each image, as in the paper; False: of the batch, where a public
            re-implementation has one number for the run.
        per_known: divide the loss of an image by the number of its known labels, as that re-implementation does;
            False: by the number of classes C, as in the paper. A label counts, whatever its loss is.
        reduction: see :class:`~sarlp.losses.MultiLabelLoss`; ``'mean'`` is the mean over the images.
        **kwargs: of :class:`~sarlp.losses.MultiLabelLoss`.
    """

    def __init__(
        self,
        alpha: float = -4.45,
        beta: float = 5.45,
        gamma: float = 1.0,
        per_image: bool = True,
        per_known: bool = False,
        reduction: str = 'mean',
        **kwargs,
    ):
        super().__init__(reduction, **kwargs)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.per_image = per_image
        self.per_known = per_known

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, y, known = read_target(logits, target)
        # of an image without a known label no loss is left to weigh, so that its share may be any number but 0
        share = known.to(logits.dtype).mean(1, keepdim=True).clamp(min=1 / known.shape[1])
        p = share if self.per_image else known.to(logits.dtype).mean().clamp(min=1 / known.numel())
        weight = self.alpha * p**self.gamma + self.beta
        if self.per_known:
            weight = weight / share
        entropy = F.binary_cross_entropy_with_logits(logits, y, reduction='none')
        return reduce_known(weight * entropy, known, self.reduction)
