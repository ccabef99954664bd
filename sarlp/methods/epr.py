"""Expected positive regularisation (EPR; Cole et al., CVPR 2021, eq. 6 and 7)."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from sarlp.methods.base import TaskInfo
from sarlp.methods.class_stats import class_prior
from sarlp.methods.known_labels import KnownLabels
from sarlp.registry import METHODS


def count_loss(logits: Tensor, expected: Tensor) -> Tensor:
    """``((mean over the images of the sum of the scores - expected) / C)^2``.

    The mean is that of the images of all ranks. Of several ranks, the gradient on each is that of its own images, so
    that DDP's mean of them is the gradient of the global batch.

    Args:
        logits: (B, C) of any precision.
        expected: (), positives in an image.
    """
    count = logits.float().sigmoid().sum(1).mean()
    everywhere = count.detach().clone()
    all_reduce(everywhere, 'mean')
    return ((count + (everywhere - count.detach()) - expected) / logits.shape[1]) ** 2


@METHODS.register_module()
class EPR(KnownLabels):
    """Of the unknown labels nothing is said, but that an image has so many positives on average.

    Args:
        loss: config of the loss on the known labels.
        expected_positives: k, in an image, the known ones included. The paper counts them in the complete labels, that
            is what is to be recovered; None: as the known labels tell, the sum of
            :func:`~sarlp.methods.class_stats.class_prior`.
    """

    expected: Tensor

    def __init__(self, loss: dict, expected_positives: float | None = None):
        super().__init__(loss)
        self.expected_positives = expected_positives

    def before_train(self, task: TaskInfo) -> None:
        k = class_prior(task).sum() if self.expected_positives is None else torch.tensor(float(self.expected_positives))
        self.register_buffer('expected', k)

    def losses(self, outputs: dict[str, Tensor], observed: Tensor) -> dict[str, Tensor]:
        losses = super().losses(outputs, observed)
        losses['loss_count'] = count_loss(outputs['logits'], self.expected)
        return losses
