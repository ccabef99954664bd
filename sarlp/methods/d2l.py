"""Dual decoupling and metric-adaptive thresholds (D2L-MAT; Xiao et al., ECCV 2024)."""

import torch
from torch import Tensor, nn

from sarlp.labels import UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.label_store import LabelStore
from sarlp.methods.teacher import Teacher
from sarlp.methods.thresholds import f_beta_threshold
from sarlp.models.heads import attentive_pool
from sarlp.models.network import Network
from sarlp.registry import METHODS


@METHODS.register_module()
class D2L(KnownLabels):
    """The head learns the known labels alone; a second classifier of its tokens, in training only, the pseudo-labels.

    The pseudo-labels are the teacher's, of the weak view: positive from a threshold of the class on, negative below.
    It is where F_beta of the known labels is best, found anew after each epoch from the scores that the teacher gave
    in the course of it; these labels were trained on, which makes it look better than it is. Until then, and where
    there is no such threshold, a class has no pseudo-labels.

    The second classifier is a linear layer for each token, and its scores are weighed by their own softmax over the
    tokens; the paper has 2 x 2 patches in the place of tokens.

    Args:
        loss: config of the loss, on the known labels and on the pseudo-labels.
        beta, step, squared_below: of F_beta, see :func:`~sarlp.methods.thresholds.f_beta_threshold`;
            ``squared_below=False`` as in the authors' code.
        pseudo_weight: factor of the loss on the pseudo-labels.
    """

    views = ('weak', 'strong')
    teacher: Teacher
    thresholds: Tensor

    def __init__(
        self,
        loss: dict,
        beta: float = 0.5,
        step: float = 0.01,
        squared_below: bool = True,
        pseudo_weight: float = 1.0,
    ):
        super().__init__(loss)
        self.beta = beta
        self.step = step
        self.squared_below = squared_below
        self.pseudo_weight = pseudo_weight
        self.teacher = Teacher()

    def meet(self, network: Network) -> None:
        self.classifier = nn.Linear(network.head.in_channels, network.head.num_classes)

    def before_train(self, task: TaskInfo) -> None:
        self.register_buffer('thresholds', torch.full((task.num_classes,), float('inf')))
        self.scores = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN)
        self.observed = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN, dtype=torch.int8)

    def loss(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        scores = self.teacher(batch.images['weak'])['logits'].float().sigmoid()
        self.scores.write(batch.index, scores)
        self.observed.write(batch.index, batch.observed)
        chosen = (batch.observed == UNKNOWN) & self.thresholds.isfinite()
        pseudo = torch.where(chosen, (scores >= self.thresholds).to(scores.dtype), UNKNOWN)

        tokens, grid = network.extract_tokens(batch.images['strong'])
        decoupled = attentive_pool(self.classifier(tokens))
        losses = self.losses(network.head(tokens, grid), batch.observed)
        return {**losses, 'loss_pseudo': self.pseudo_weight * self.known_loss(decoupled, pseudo)}

    def after_epoch(self) -> None:
        for c in range(len(self.thresholds)):
            known = self.observed.values[:, c] != UNKNOWN
            scores, labels = self.scores.values[known, c], self.observed.values[known, c]
            self.thresholds[c] = f_beta_threshold(scores, labels, self.beta, self.step, self.squared_below)
