"""LogicMix: images averaged, labels by a logic of three values (Pattern Recognition 2026)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.registry import METHODS


def logic_or(labels: Tensor) -> Tensor:
    """Labels of images laid over each other: there if it is in any, not there if it is in none, else unknown.

    Args:
        labels: (k, B, C) of 1 / 0 / -1.

    Returns:
        (B, C) of 1 / 0 / -1.
    """
    some_unknown = torch.where((labels == UNKNOWN).any(0), UNKNOWN, NEGATIVE)
    return torch.where((labels == POSITIVE).any(0), POSITIVE, some_unknown).to(labels.dtype)


@METHODS.register_module()
class LogicMix(KnownLabels):
    """Some images of the batch are replaced by the mean of themselves and others of it.

    A mixed image has few known negatives, as those of all its parts are needed for one; the images that stay as they
    are have them. The paper mixes images of the whole data set, here they are those of the batch of one process.

    Args:
        loss: config of the loss on the known labels of images and mixtures.
        probability: with which an image is mixed, in [0, 1].
        sizes: numbers of images in a mixture, of which each mixture draws one; at most the batch.
    """

    sizes: Tensor

    def __init__(self, loss: dict, probability: float = 0.5, sizes: Sequence[int] = (2, 3)):
        super().__init__(loss)
        if not 0 <= probability <= 1:
            raise UserValueError(f'model.method.probability must be in [0, 1], got {probability}')
        if not sizes or any(type(size) is not int or size < 1 for size in sizes):
            raise UserValueError(f'model.method.sizes must be whole numbers of at least 1, got {sizes}')
        self.probability = probability
        self.largest = max(sizes)
        self.register_buffer('sizes', torch.tensor(sizes), persistent=False)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        parts, sizes = self.draw(len(batch.observed))
        images = batch.image / sizes[:, None, None, None]
        for place in range(1, parts.shape[1]):
            share = (place < sizes) / sizes
            images = images + batch.image[parts[:, place]] * share[:, None, None, None]
        return self.losses(network(images), logic_or(batch.observed[parts.T]))

    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        """Which images of a batch make up each.

        Returns:
            (batch, k) int64: itself, then others, each of them once, then itself again where its mixture is
            smaller than k; and (batch,) int64, the sizes of the mixtures, 1 of an image that stays as it is.
        """
        on = self.sizes.device
        order = torch.rand(batch, batch, device=on).fill_diagonal_(-1).argsort(1)[:, : self.largest]  # itself first
        sizes = self.sizes[torch.randint(len(self.sizes), (batch,), device=on)].clamp(max=batch)
        sizes = torch.where(torch.rand(batch, device=on) < self.probability, sizes, 1)
        return torch.where(torch.arange(order.shape[1], device=on) < sizes[:, None], order, order[:, :1]), sizes
