"""Self-paced loss correction (SPLC; Zhang et al., arXiv 2112.07368)."""

import torch
from torch import Tensor

from sarlp.methods.base import Batch
from sarlp.methods.known_and_unknown import KnownAndUnknown
from sarlp.registry import METHODS


@METHODS.register_module()
class SPLC(KnownAndUnknown):
    """Unknown labels are assumed negative, but for those that the network comes to score high: they are positive then.

    Args:
        loss, unknown_loss: see :class:`~sarlp.methods.known_and_unknown.KnownAndUnknown`. In the paper both are the
            focal margin loss, but a label that was assumed carries no margin in its code.
        threshold: tau, a score above it is a positive one, in (0, 1).
        from_epoch: the first epoch, from 0, in which the network is believed.
    """

    def __init__(self, loss: dict, unknown_loss: dict | None = None, threshold: float = 0.6, from_epoch: int = 1):
        super().__init__(loss, unknown_loss)
        self.threshold = threshold
        self.from_epoch = from_epoch

    def assume(self, logits: Tensor, unknown: Tensor, batch: Batch) -> Tensor:
        negative = super().assume(logits, unknown, batch)
        if batch.epoch < self.from_epoch:
            return negative
        return torch.where(logits.sigmoid() > self.threshold, 1.0, negative)
