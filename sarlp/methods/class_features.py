"""Features of classes, for methods that compare or mix those of several images."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from torch import Tensor

from sarlp.errors import UserError, UserValueError
from sarlp.labels import NEGATIVE, POSITIVE
from sarlp.methods.base import TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.models.heads import BaselineHead
from sarlp.models.network import Network


def class_features(tokens: Tensor, token_scores: Tensor) -> Tensor:
    """What each class looks at: ``u_c = sum_p softmax_p(s[p, c]) x_p``.

    Args:
        tokens: (B, P, D).
        token_scores: (B, P, C).

    Returns:
        (B, C, D). The logit of :class:`~sarlp.models.heads.BaselineHead` is its linear layer's row c on ``u_c``.
    """
    return token_scores.softmax(1).transpose(1, 2) @ tokens


def contrast(features: Tensor, observed: Tensor, negative_pairs: bool = False) -> Tensor:
    """Mean over pairs of images of ``1 - cos`` where both have the class, ``1 + cos`` where one has it; 0 of no pair.

    Args:
        features: (B, C, D).
        observed: (B, C) of 1 / 0 / -1; pairs are of known labels of one class.
        negative_pairs: push apart those too of which neither has the class.
    """
    directions = F.normalize(features.float(), dim=2).transpose(0, 1)  # (C, B, D)
    cosine = directions @ directions.transpose(1, 2)
    positive, negative = observed.T == POSITIVE, observed.T == NEGATIVE
    pull = positive[:, :, None] & positive[:, None]
    push = positive[:, :, None] & negative[:, None]
    if negative_pairs:
        push = push | (negative[:, :, None] & negative[:, None])
    other = ~torch.eye(len(observed), dtype=torch.bool, device=observed.device)
    pull, push = pull & other, (push | push.transpose(1, 2)) & other
    sums = torch.where(pull, 1 - cosine, 0).sum() + torch.where(push, 1 + cosine, 0).sum()
    return sums / (pull.sum() + push.sum()).clamp(min=1)


class OnClassFeatures(KnownLabels):
    """Base of methods that work on what :class:`~sarlp.models.heads.BaselineHead` classifies, and remember some of it.

    Args:
        loss: config of a loss.
        memory: features of each class that are remembered, of the latest images in which it is known to be. C * memory
            * D numbers of 4 bytes.
    """

    memory: Tensor
    written: Tensor

    def __init__(self, loss: dict, memory: int = 100):
        super().__init__(loss)
        if memory < 1:
            raise UserValueError(f'model.method.memory must be at least 1, got {memory}')
        self.size = memory

    def meet(self, network: Network) -> None:
        if not isinstance(network.head, BaselineHead):
            raise UserError(
                f'{type(self).__name__} works on what BaselineHead classifies, and model.head is a '
                f"{type(network.head).__name__}; set model.head.type='BaselineHead'"
            )
        self.width = network.head.in_channels

    def before_train(self, task: TaskInfo) -> None:
        self.register_buffer('memory', torch.zeros(task.num_classes, self.size, self.width))
        # features that went into the memory
        self.register_buffer('written', torch.zeros(task.num_classes, dtype=torch.int64))

    def remember(self, features: Tensor, observed: Tensor) -> None:
        """Features (B, C, D) of known positives take the place of the oldest; those of all ranks, on each."""
        features = torch.cat(all_gather(features.float().contiguous()))
        positive = torch.cat(all_gather(observed.contiguous())) == POSITIVE
        order = positive.cumsum(0) - 1
        new = positive.sum(0)
        # from which image each place is filled: a shape that depends on no label, so that nobody waits for a GPU
        places = torch.where(positive & (order >= new - self.size), (self.written + order) % self.size, self.size)
        images = torch.arange(len(features), device=features.device)[:, None].expand_as(places)
        source = places.new_full((len(new), self.size + 1), -1).scatter(1, places.T, images.T)[:, : self.size]
        classes = torch.arange(len(new), device=features.device)[:, None]
        filled = features[source.clamp(min=0), classes]
        self.memory.copy_(torch.where((source >= 0)[..., None], filled, self.memory))
        self.written += new
