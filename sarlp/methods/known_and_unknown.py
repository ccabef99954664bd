"""Training on the known labels and, under a loss of their own, on the unknown ones."""

import torch
from torch import Tensor, nn

from sarlp.labels import NEGATIVE, UNKNOWN
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels, build_loss
from sarlp.registry import METHODS


@METHODS.register_module()
class KnownAndUnknown(KnownLabels):
    """Unknown labels are assumed negative (AN and WAN of Cole et al., CVPR 2021); a subclass assumes something better.

    Whatever it assumes, a known label is out of its reach.

    Args:
        loss: config of the loss on the known labels.
        unknown_loss: config of the loss on the unknown ones; None for that on the known.
        weak: divide the loss of the unknown labels by C - 1. Where one positive of an image is known and nothing else,
            the two then weigh the same (WAN).
    """

    def __init__(self, loss: dict, unknown_loss: dict | None = None, weak: bool = False):
        super().__init__(loss)
        self.unknown_loss = build_loss(loss if unknown_loss is None else unknown_loss, 'model.method.unknown_loss')
        self.weak = weak

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs = network(batch.image)
        losses = self.losses(outputs, batch.observed)
        logits, unknown = outputs['logits'], batch.observed == UNKNOWN
        with torch.no_grad():
            assumed = self.assume(logits.detach().float(), unknown, batch)
        losses['loss_unknown'] = self.unknown_loss(logits, torch.where(unknown, assumed, UNKNOWN))
        if self.weak:
            losses['loss_unknown'] = losses['loss_unknown'] / max(logits.shape[1] - 1, 1)
        return losses

    def assume(self, logits: Tensor, unknown: Tensor, batch: Batch) -> Tensor:
        """Targets of the unknown labels.

        Args:
            logits: (B, C) float32, without gradient.
            unknown: (B, C) bool.
            batch: what may be seen.

        Returns:
            (B, C) float32 in [0, 1], or -1 where an unknown label is left alone; of known labels any number.
        """
        return torch.full_like(logits, NEGATIVE)


def highest(logits: Tensor, among: Tensor, count: int) -> Tensor:
    """Whether a label is one of the ``count`` highest of the batch.

    Args:
        logits: (B, C).
        among: (B, C) bool, which may be chosen; all of them if they are fewer than ``count``.
        count: >= 0.

    Returns:
        (B, C) bool, True exactly ``min(count, number of among)`` times, whatever ties there are.
    """
    ranked = torch.where(among, logits, -torch.inf).flatten()
    places = ranked.topk(min(count, len(ranked))).indices
    chosen = torch.zeros_like(ranked, dtype=torch.bool).scatter(0, places, True)
    return chosen.view_as(among) & among
