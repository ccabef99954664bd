"""Class-distribution-aware pseudo-labels (CAP; Xie et al., NeurIPS 2023)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.class_stats import class_prior
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.label_store import LabelStore
from sarlp.methods.teacher import Teacher
from sarlp.methods.thresholds import count_threshold, pseudo_labels
from sarlp.registry import METHODS


@METHODS.register_module()
class CAP(KnownLabels):
    """The teacher's labels for the strong view, as many of each class as its frequency says.

    The two thresholds of a class leave, among its unknown labels, the share of positives that the known labels have,
    and of negatives likewise. They are found anew after each epoch from the scores that the teacher gave in the course
    of it (the paper passes over all images once more). Until then, and of a class of which less than one positive
    (negative) is expected, there are no positive (negative) pseudo-labels.

    Args:
        loss: config of the loss, on the known labels and on the pseudo-labels.
        warmup: epochs of known labels alone, 12 of 40 in the paper; of a shorter run at most half of its epochs.
        positive_share, negative_share: factors on the number of positives, and of negatives, in [0, 1].
        pseudo_weight: factor of the loss on the pseudo-labels.
        strength: of the shrinkage of the frequencies, see :func:`~sarlp.methods.class_stats.class_prior`.
        start_from_prior: see :class:`~sarlp.methods.KnownLabels`.
    """

    views = ('weak', 'strong')
    teacher: Teacher
    prior: Tensor
    upper: Tensor
    lower: Tensor

    def __init__(
        self,
        loss: dict,
        warmup: int = 12,
        positive_share: float = 1.0,
        negative_share: float = 1.0,
        pseudo_weight: float = 1.0,
        strength: float = 10.0,
        start_from_prior: bool = False,
    ):
        super().__init__(loss, start_from_prior)
        for name, share in (('positive_share', positive_share), ('negative_share', negative_share)):
            if not 0 <= share <= 1:
                raise UserValueError(f'model.method.{name} must be in [0, 1], got {share}')
        self.warmup = warmup
        self.positive_share = positive_share
        self.negative_share = negative_share
        self.pseudo_weight = pseudo_weight
        self.strength = strength
        self.teacher = Teacher()

    def before_train(self, task: TaskInfo) -> None:
        super().before_train(task)
        self.register_buffer('prior', class_prior(task, self.strength))
        self.register_buffer('upper', torch.full((task.num_classes,), float('inf')))
        self.register_buffer('lower', torch.full((task.num_classes,), -float('inf')))
        self.scores = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN)  # of unknown labels

    def first_epoch(self, num_epochs: int) -> int:
        return min(self.warmup, num_epochs // 2)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        epochs = batch.progress.num_epochs
        first = self.warmup if epochs is None else self.first_epoch(epochs)
        pseudo = torch.full_like(batch.observed, UNKNOWN)
        if batch.epoch >= first - 1:  # in the last epoch of the warm-up the first scores are gathered
            scores = self.teacher(batch.images['weak'])['logits'].float().sigmoid()
            self.scores.write(batch.index, torch.where(batch.observed == UNKNOWN, scores, pseudo))
            if batch.epoch >= first:
                pseudo = pseudo_labels(scores, batch.observed, self.upper, self.lower)
        logits = network(batch.images['strong'])['logits']
        return {
            'loss_known': self.known_loss(logits, batch.observed),
            'loss_pseudo': self.pseudo_weight * self.known_loss(logits, pseudo),
        }

    def after_epoch(self) -> None:
        for c, prior in enumerate(self.prior.tolist()):
            scores = self.scores.values[:, c]
            scores = scores[scores != UNKNOWN]
            self.upper[c] = count_threshold(scores, int(self.positive_share * prior * len(scores)))
            self.lower[c] = -count_threshold(-scores, int(self.negative_share * (1 - prior) * len(scores)))
