"""Large losses matter (Kim et al., CVPR 2022): the unknown labels that are hardest to call negative are positive."""

import math

import torch
from torch import Tensor

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.known_and_unknown import KnownAndUnknown, highest
from sarlp.methods.label_store import LabelStore
from sarlp.registry import METHODS

MODES = ('R', 'Ct', 'Cp')


@METHODS.register_module()
class LargeLoss(KnownAndUnknown):
    """Unknown labels are assumed negative, but for the k of a batch whose loss is the largest.

    As all of them are assumed negative, the largest loss is that of the highest score. Nothing is done in the first
    epoch. Within a batch of several ranks each rank has its own k labels.

    Args:
        loss, unknown_loss: see :class:`~sarlp.methods.known_and_unknown.KnownAndUnknown`.
        mode: ``'R'`` leaves those labels out, ``'Ct'`` calls them positive in this step (temporary correction),
            ``'Cp'`` for good (permanent correction), which takes a byte for each label of the training set.
        delta: share of the labels of a batch by which k grows with each epoch; in mode ``'Cp'``, where they add up, k
            is always that share. In (0, 1); the paper trains for ten epochs and gives it in per cent.

    Attributes:
        corrected: store of uint8, 1 where a label was called positive for good; of mode ``'Cp'``.
    """

    def __init__(self, loss: dict, mode: str, delta: float, unknown_loss: dict | None = None):
        super().__init__(loss, unknown_loss)
        if mode not in MODES:
            raise ValueError(f'mode must be one of {MODES}, got {mode!r}')
        if not 0 < delta < 1:
            raise ValueError(f'delta must be a share in (0, 1), got {delta}')
        self.mode = mode
        self.delta = delta

    def before_train(self, task: TaskInfo) -> None:
        if self.mode == 'Cp':
            self.corrected = LabelStore(task.num_images, task.num_classes, fill=NEGATIVE, dtype=torch.uint8)

    def count(self, batch: Batch) -> int:
        """k, of a batch of B images and C classes: ``ceil(B C delta epoch)``, or ``ceil(B C delta)`` for good."""
        epochs = min(batch.epoch, 1) if self.mode == 'Cp' else batch.epoch
        return math.ceil(round(batch.observed.numel() * self.delta * epochs, 6))  # 100 * 0.07 is above 7

    def assume(self, logits: Tensor, unknown: Tensor, batch: Batch) -> Tensor:
        assumed = super().assume(logits, unknown, batch)
        if self.mode != 'Cp':
            largest = highest(logits, unknown, self.count(batch))
            return assumed.masked_fill(largest, UNKNOWN if self.mode == 'R' else POSITIVE)
        corrected = self.corrected.read(batch.index).bool()
        corrected |= highest(logits, unknown & ~corrected, self.count(batch))
        self.corrected.write(batch.index, corrected)
        return assumed.masked_fill(corrected, POSITIVE)
