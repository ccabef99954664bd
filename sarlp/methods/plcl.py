"""Curriculum of pseudo-labels (Durand et al., CVPR 2019, "Learning a deep ConvNet with partial labels")."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.label_store import LabelStore
from sarlp.registry import METHODS

STRATEGIES = ('threshold', 'share', 'share_overall')
_NONE = float('inf')  # the logit of a label that is known, or of an image not seen yet


def relabel(logits: Tensor, strategy: str, threshold: float, share: float, positives_only: bool = False) -> Tensor:
    """Labels of the unknown labels that the network is most certain of.

    Args:
        logits: (N, C) float32; inf of what gets no label.
        strategy: ``'threshold'``: above it a positive, below minus it a negative; ``'share'``: of each class those
            farthest from 0; ``'share_overall'``: of all classes together.
        threshold: >= 0.
        share: of the unknown labels, in [0, 1]; rounded down to whole labels.
        positives_only: negatives get no label, and positives are those of the highest logit.

    Returns:
        (N, C) int8 of 1 / 0 / -1.
    """
    unknown = logits != _NONE
    certainty = torch.where(unknown, logits if positives_only else logits.abs(), -_NONE)
    if strategy == 'threshold':
        chosen = certainty > threshold
    else:
        together = strategy == 'share_overall'
        rows = certainty.flatten()[None] if together else certainty.T  # a row for each list to choose from
        counts = (share * torch.isfinite(rows).sum(1)).long()
        places = rows.argsort(dim=1, descending=True, stable=True).argsort(1)  # of each label in its list
        chosen = places < counts[:, None]
        chosen = chosen.view_as(certainty) if together else chosen.T
    positive = logits > 0
    if positives_only:
        chosen = chosen & positive
    return torch.where(chosen & unknown, positive.to(torch.int8), UNKNOWN)


@METHODS.register_module()
class PLCL(KnownLabels):
    """The network labels what is unknown and learns on, again and again; the labels of the time before are forgotten.

    The logits are those that the network gave in the course of the epoch, in training and on augmented images (the
    paper passes over all images once more). The paper's graph network of labels is left out.

    Args:
        loss: config of the loss on known labels and pseudo-labels together.
        strategy, threshold, share, positives_only: see :func:`relabel`.
        every: epochs from one relabelling to the next, >= 1.
    """

    def __init__(
        self,
        loss: dict,
        strategy: str = 'threshold',
        threshold: float = 2.0,
        share: float = 0.5,
        positives_only: bool = False,
        every: int = 5,
    ):
        super().__init__(loss)
        if strategy not in STRATEGIES:
            raise UserValueError(f'model.method.strategy must be one of {", ".join(STRATEGIES)}, got {strategy!r}')
        if not (threshold >= 0 and 0 <= share <= 1 and every >= 1):
            raise UserValueError(
                'model.method.threshold must be at least 0, share in [0, 1] and every at least 1, '
                f'got {threshold}, {share} and {every}'
            )
        self.strategy = strategy
        self.threshold = threshold
        self.share = share
        self.positives_only = positives_only
        self.every = every

    def before_train(self, task: TaskInfo) -> None:
        self.logits = LabelStore(task.num_images, task.num_classes, fill=_NONE)
        self.labels = LabelStore(task.num_images, task.num_classes, fill=UNKNOWN, dtype=torch.int8)

    def first_epoch(self, num_epochs: int) -> int:
        return self.every

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self._epochs = batch.epoch + 1
        outputs = network(batch.image)
        unknown = batch.observed == UNKNOWN
        self.logits.write(batch.index, torch.where(unknown, outputs['logits'].detach().float(), _NONE))
        labels = self.labels.read(batch.index).to(batch.observed.dtype)
        return self.losses(outputs, torch.where(unknown, labels, batch.observed))

    def after_epoch(self) -> None:
        if self._epochs % self.every == 0:
            labels = relabel(self.logits.values, self.strategy, self.threshold, self.share, self.positives_only)
            self.labels.values.copy_(labels)
