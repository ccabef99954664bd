"""Saliency Regularization for Self-Training with Partial Annotations (Wang et al., ICCV 2023)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserError
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.thresholds import check_confidence, pseudo_labels
from sarlp.registry import METHODS


@METHODS.register_module()
class ST(KnownLabels):
    """What the network is sure of on the weak view are labels for the strong one; no teacher beside it.

    ``loss(known labels, both views) + pseudo_weight * loss(pseudo-labels, strong view)``. With the reduction
    ``'mean_known'`` each part is divided by the number of its own labels, known or chosen, as the text of the paper
    has it; its Eq. 9 divides for each image.

    Args:
        loss: config of the loss, of both parts.
        threshold: tau in (0.5, 1]: an unknown label is positive from the probability tau on, negative up to 1 - tau.
        pseudo_weight: factor of the second part.
        pseudo_from: the output of the network that makes the pseudo-labels: another than ``'logits'``, where the head
            has one, for the ablation without the saliency.
    """

    views = ('weak', 'strong')

    def __init__(self, loss: dict, threshold: float = 0.6, pseudo_weight: float = 1.0, pseudo_from: str = 'logits'):
        super().__init__(loss)
        self.threshold = check_confidence(threshold)
        self.pseudo_weight = pseudo_weight
        self.pseudo_from = pseudo_from

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs = network(torch.cat([batch.images[view] for view in self.views]))
        if self.pseudo_from not in outputs:
            raise UserError(
                f'model.method.pseudo_from is {self.pseudo_from!r}, and the head gives {", ".join(outputs)}; '
                'name one with a logit for each class'
            )
        scores = outputs[self.pseudo_from].chunk(2)[0].detach().float().sigmoid()
        pseudo = pseudo_labels(scores, batch.observed, self.threshold, 1 - self.threshold)
        strong = outputs['logits'].chunk(2)[1]
        return {
            'loss_known': self.known_loss(outputs['logits'], batch.observed.repeat(2, 1)),
            'loss_pseudo': self.pseudo_weight * self.known_loss(strong, pseudo),
        }
