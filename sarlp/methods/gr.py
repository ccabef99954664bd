"""Generalised robust loss (GR; Chen et al., IJCAI 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sarlp.labels import UNKNOWN
from sarlp.losses.functional import reduce_known
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.registry import METHODS


def robust_terms(
    logits: Tensor, slope: float, offset: float, centre: float, width: float, q2: float, q3: float
) -> Tensor:
    """Loss of each label, were it unknown: ``v [k (1 - s^q2) / q2 + (1 - k) (1 - (1 - s)^q3) / q3]``.

    s is the score, ``k = sigmoid(slope s + offset)`` the probability that a positive was missed, and
    ``v = exp(-((s - centre) / width)^2 / 2)``. Neither k nor v is differentiated.

    Args:
        logits: (B, C) float.
        slope, offset: w and b of the paper.
        centre, width: mu and sigma of the paper; width > 0.
        q2, q3: in (0, 1]; the cross entropy at 0, the absolute error at 1.
    """
    log_s, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    score = logits.detach().sigmoid()
    k = torch.sigmoid(slope * score + offset)
    v = torch.exp(-(((score - centre) / width) ** 2) / 2)
    # 1 - s^q of a small q is a difference of two numbers near 1, which expm1 takes exactly
    return -v * (k * torch.expm1(q2 * log_s) / q2 + (1 - k) * torch.expm1(q3 * log_not) / q3)


@METHODS.register_module()
class GR(KnownLabels):
    """An unknown label is a missed positive with a probability that its score tells, and weighs as it seems certain.

    Four numbers go in a straight line from the begin of the run to its end, with every step, where the reference goes
    with every epoch.

    Args:
        loss: config of the loss on the known labels. The unknown ones are summed and divided by B C, so that it should
            be reduced by ``'mean'``.
        slope, offset: begin and end of w and b, which make the probability of a missed positive of a score.
        centre, width: begin and end of mu and sigma, which make the weight of a label of its score.
        q2, q3: of the generalised cross entropy, in (0, 1], of the positive and the negative side of an unknown label.
    """

    def __init__(
        self,
        loss: dict,
        slope: Sequence[float] = (0.0, 2.0),
        offset: Sequence[float] = (-2.0, -2.0),
        centre: Sequence[float] = (0.5, 0.8),
        width: Sequence[float] = (2.0, 0.5),
        q2: float = 0.01,
        q3: float = 1.0,
    ):
        super().__init__(loss)
        self.lines = dict(slope=slope, offset=offset, centre=centre, width=width)
        self.q2 = q2
        self.q3 = q3

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs = network(batch.image)
        over = batch.step / batch.num_steps
        now = {name: begin + (end - begin) * over for name, (begin, end) in self.lines.items()}
        each = robust_terms(outputs['logits'].float(), **now, q2=self.q2, q3=self.q3)
        losses = self.losses(outputs, batch.observed)
        losses['loss_unknown'] = reduce_known(each, batch.observed == UNKNOWN, 'mean')
        return losses
