"""Asymmetric pseudo-labels (APL; Zhou et al., ECCV 2022, "Acknowledging the unknown", section 3.3)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import NEGATIVE, UNKNOWN
from sarlp.losses import binary_cross_entropy
from sarlp.methods.base import Batch, Progress, TaskInfo
from sarlp.methods.known_and_unknown import KnownAndUnknown
from sarlp.methods.label_store import LabelStore
from sarlp.registry import METHODS


@METHODS.register_module()
class APL(KnownAndUnknown):
    """Of the unknown labels, those of the lowest scores become soft negatives, more of them after each epoch.

    What is no soft negative stays under ``unknown_loss``, the maximal entropy of EM. A positive pseudo-label is never
    made. The scores are those that the network gave in the course of the epoch, in training (the authors' code passes
    over the same augmented images once more).

    Args:
        loss: config of the loss on the known labels.
        unknown_loss: config of the loss on the unknown labels that are no soft negatives.
        warmup: epochs after which the first ones are chosen, >= 1.
        share: of the unknown labels of a class that are soft negatives in the last epoch, in [0, 1]; every epoch adds
            as many.
        negative_weight: beta, factor of the cross entropy against the soft negatives, a mean over B * C; the default
            is that of VOC (COCO: 0.9, NUS-WIDE: 0.2, CUB: 0.4).
    """

    def __init__(
        self, loss: dict, unknown_loss: dict, warmup: int = 5, share: float = 0.9, negative_weight: float = 0.02
    ):
        super().__init__(loss, unknown_loss)
        if not (warmup >= 1 and 0 <= share <= 1):
            raise UserValueError(
                f'model.method.warmup must be at least 1 and share in [0, 1], got {warmup} and {share}'
            )
        self.warmup = warmup
        self.share = share
        self.negative_weight = negative_weight
        self.progress = Progress()

    def before_train(self, task: TaskInfo) -> None:
        super().before_train(task)
        self.unknown = torch.from_numpy(task.num_images - task.known_positive - task.known_negative)
        # -1 is no soft negative, so that one of the value 0 still is one
        self.soft_negatives = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN)
        self.scores = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN)  # of what may become one

    def first_epoch(self, num_epochs: int) -> int:
        return self.warmup

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.progress = batch.progress
        outputs = network(batch.image)
        logits, unknown = outputs['logits'], batch.observed == UNKNOWN
        soft = torch.where(unknown, self.soft_negatives.read(batch.index), UNKNOWN)
        undecided = unknown & (soft == UNKNOWN)
        scores = logits.detach().float().sigmoid()
        self.scores.write(batch.index, torch.where(undecided, scores, UNKNOWN))
        negative = binary_cross_entropy(logits, soft, 'mean')
        return {
            **self.losses(outputs, batch.observed),
            'loss_unknown': self.unknown_loss(logits, torch.where(undecided, float(NEGATIVE), UNKNOWN)),
            'loss_negative': self.negative_weight * negative,
        }

    def after_epoch(self) -> None:
        done = self.progress.epoch + 1
        epochs = round(done * self.progress.num_steps / (self.progress.step + 1))
        if not self.warmup <= done < epochs:
            return
        for c, unknown in enumerate(self.unknown.tolist()):
            scores, soft = self.scores.values[:, c], self.soft_negatives.values[:, c]
            waiting = torch.where(scores == UNKNOWN, torch.inf, scores)
            count = min(int(self.share * unknown / (epochs - self.warmup)), int(torch.isfinite(waiting).sum()))
            chosen = waiting.topk(count, largest=False).indices
            soft[chosen] = scores[chosen]
            scores[chosen] = UNKNOWN
