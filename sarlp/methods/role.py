"""Regularised online label estimation (ROLE; Cole et al., CVPR 2021, section 4.3)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN
from sarlp.losses import binary_cross_entropy
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.epr import EPR, count_loss
from sarlp.methods.label_store import require_places
from sarlp.registry import METHODS


@METHODS.register_module()
class ROLE(EPR):
    """A learnt estimate of each label of each image; it learns of the network's scores, and they of it.

    Half of ``BCE(scores, estimates) + loss(known labels) + count(scores)``, and half of ``BCE(estimates, scores) +
    count(estimates)``, the second of each pair without gradient; ``count`` is
    :func:`~sarlp.methods.epr.count_loss`. The estimate of a known label does not move: in the paper it starts at
    ``pinned`` and is held there by a loss of its own. The cross entropies are means over B * C.

    The estimates are (N, C) parameters. With the two moments of Adam they take 12 bytes a label in memory and in each
    checkpoint; of an image that is not in the batch the moments move them on, as they do in the paper.

    Args:
        loss: config of the loss on the known labels.
        expected_positives: see :class:`~sarlp.methods.epr.EPR`.
        pinned: estimate of a known positive label, in (0.5, 1); that of a known negative is 1 - pinned.
        spread: the estimates of unknown labels start uniformly in 0.5 -+ spread, in [0, 0.5).
    """

    lr_mult = {'estimates': 10.0}

    def __init__(self, loss: dict, expected_positives: float | None = None, pinned: float = 0.995, spread: float = 0.1):
        super().__init__(loss, expected_positives)
        if not (0.5 < pinned < 1 and 0 <= spread < 0.5):
            raise UserValueError(
                f'model.method.pinned must lie between 0.5 and 1, and spread in [0, 0.5), got {pinned} and {spread}'
            )
        self.pinned = pinned
        self.spread = spread

    def before_train(self, task: TaskInfo) -> None:
        super().before_train(task)
        start = torch.empty(task.num_images, task.num_classes).uniform_(0.5 - self.spread, 0.5 + self.spread)
        self.estimates = nn.Parameter(start.logit())

    def needs_places(self) -> bool:
        return True  # the estimates are a table by place

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        require_places(batch.index)
        known = batch.observed != UNKNOWN
        pinned = torch.where(batch.observed == 1, self.pinned, 1 - self.pinned)
        estimates = torch.where(known, pinned.logit(), self.estimates[batch.index])
        outputs = network(batch.image)
        logits = outputs['logits']
        agree = self.agree(logits, estimates) + self.agree(estimates, logits)
        own = self.losses(outputs, batch.observed)
        count = own['loss_count'] + count_loss(estimates, self.expected)
        return {'loss_known': own['loss_known'] / 2, 'loss_agree': agree / 2, 'loss_count': count / 2}

    @staticmethod
    def agree(logits: Tensor, other: Tensor) -> Tensor:
        """Cross entropy of (B, C) logits against the scores of others."""
        return binary_cross_entropy(logits, other.detach().float().sigmoid(), 'mean')
