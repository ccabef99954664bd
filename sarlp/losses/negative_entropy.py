"""Maximal entropy of the scores (Zhou et al., ECCV 2022, "Acknowledging the unknown", eq. 5)."""

import torch.nn.functional as F
from torch import Tensor

from sarlp.losses.functional import read_target, reduce_known
from sarlp.losses.losses import MultiLabelLoss
from sarlp.registry import MODELS


@MODELS.register_module()
class NegativeEntropy(MultiLabelLoss):
    """Minus the entropy of each score, whatever its target is: for labels of which nothing is to be claimed.

    The entropy of a Bernoulli variable in nats; ``loss_weight`` is the alpha of the paper. Its gradient vanishes at a
    score of 0.5 and where the network is sure, so that what it is sure of stays.
    """

    def value(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, _, known = read_target(logits, target)
        score = logits.sigmoid()
        entropy = -score * F.logsigmoid(logits) - (1 - score) * F.logsigmoid(-logits)
        return reduce_known(-entropy, known, self.reduction)
