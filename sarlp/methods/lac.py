"""Label-aware consistency for single positive labels (Xie et al., NeurIPS 2022), its first stage."""

import torch
from torch import Tensor, nn

from sarlp.labels import UNKNOWN
from sarlp.losses import binary_cross_entropy
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.thresholds import check_confidence, pseudo_labels
from sarlp.registry import METHODS


@METHODS.register_module()
class LAC(KnownLabels):
    """Unknown labels are negatives on the weak view, and on the strong one what the network is sure of on the weak one.

    ``loss(unknown as 0, weak view) + pseudo_weight * cross entropy(known labels and pseudo-labels, strong view)``, the
    latter divided by the number of both; it is 0 where there is neither. The network labels for itself, in training as
    it is and without gradient; its authors average the weights for the evaluation only.

    Args:
        loss: config of the loss of the first part.
        threshold: in (0.5, 1]: the probability on the weak view from which on an unknown label is positive; negative up
            to 1 - threshold.
        pseudo_weight: factor of the second part.
    """

    views = ('weak', 'strong')

    def __init__(self, loss: dict, threshold: float = 0.6, pseudo_weight: float = 1.0):
        super().__init__(loss)
        self.threshold = check_confidence(threshold)
        self.pseudo_weight = pseudo_weight

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weak, strong = network(torch.cat([batch.images[view] for view in self.views]))['logits'].chunk(2)
        scores = weak.detach().float().sigmoid()
        pseudo = pseudo_labels(scores, batch.observed, self.threshold, 1 - self.threshold)
        targets = torch.where(batch.observed == UNKNOWN, pseudo, batch.observed)
        return {
            'loss_known': self.known_loss(weak, batch.observed.clamp(min=0)),
            'loss_pseudo': self.pseudo_weight * binary_cross_entropy(strong, targets, 'mean_known'),
        }
