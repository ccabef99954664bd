"""Semantic-aware representation blending (SARB; Pu et al., AAAI 2022)."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from torch import Tensor, nn

from sarlp.errors import UserError
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.models.heads import BaselineHead
from sarlp.models.network import Network
from sarlp.registry import METHODS


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


def cluster(points: Tensor, number: int) -> Tensor:
    """Centres (k, D) of (n, D) points on the CPU by k-means, k at most ``number``; the points themselves if so few."""
    from sklearn.cluster import KMeans

    distinct = points.unique(dim=0)
    if len(distinct) <= number:
        return distinct
    return torch.from_numpy(KMeans(number, n_init=1, random_state=0).fit(distinct.numpy()).cluster_centers_)


@METHODS.register_module()
class SARB(KnownLabels):
    """Class features of images in which a class is known are blended into those of images in which it is not.

    - Instances: where a label is unknown and positive in the partner, the image at the same place of the reversed
      batch, the feature is ``a f + (1 - a) f_partner`` and the target 1 - a.
    - Prototypes: one unknown class of each image gets ``b f + (1 - b) prototype`` and the target 1 - b.

    Each blend is classified once more, beside the known labels of the image. a and b are learnt, of the features alone:
    as targets they have no gradient. Prototypes are centres of features of known positives.

    The paper blends the features of its semantic decoupling, in front of a graph network over the classes. Here they
    are those that BaselineHead classifies, without a graph, which blends the logits alike. The prototypes are made of
    the latest features that training left for each class, in the paper of all of them; the contrast is over all pairs
    of the batch of a process, in the authors' code over a part of the negatives.

    Args:
        loss: config of a loss with soft targets.
        start: epochs before the blending.
        renew: epochs from one set of prototypes to the next.
        prototypes: of each class.
        memory: features of each class that are kept for them. C * memory * D numbers of 4 bytes.
        contrast_weight: factor of :func:`contrast`.
        negative_pairs: see :func:`contrast`; True as in the authors' code.
    """

    memory: Tensor
    written: Tensor
    prototypes: Tensor
    available: Tensor

    def __init__(
        self,
        loss: dict,
        start: int = 5,
        renew: int = 5,
        prototypes: int = 10,
        memory: int = 100,
        contrast_weight: float = 0.05,
        negative_pairs: bool = False,
    ):
        super().__init__(loss)
        self.start = start
        self.renew = renew
        self.number = prototypes
        self.size = memory
        self.contrast_weight = contrast_weight
        self.negative_pairs = negative_pairs
        self.instance_share = nn.Parameter(torch.tensor(0.5))  # a
        self.prototype_share = nn.Parameter(torch.tensor(0.5))  # b

    def meet(self, network: Network) -> None:
        if not isinstance(network.head, BaselineHead):
            raise UserError(
                f'SARB blends what BaselineHead classifies, and model.head is a {type(network.head).__name__}; '
                "set model.head.type='BaselineHead'"
            )
        self.width = network.head.in_channels

    def before_train(self, task: TaskInfo) -> None:
        classes = task.num_classes
        self.register_buffer('memory', torch.zeros(classes, self.size, self.width))
        self.register_buffer('written', torch.zeros(classes, dtype=torch.int64))  # features that went into the memory
        self.register_buffer('prototypes', torch.zeros(classes, self.number, self.width))
        self.register_buffer('available', torch.zeros(classes, dtype=torch.int64))  # prototypes

    def loss(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        self._epochs = batch.epoch + 1
        tokens, grid = network.extract_tokens(batch.image)
        outputs = network.head(tokens, grid)
        features = class_features(tokens, outputs['token_scores'])
        self._remember(features.detach(), batch.observed)

        def blend(share: Tensor, others: Tensor, places: Tensor) -> Tensor:
            """Loss with the features (B, C, D) of others blended in at places (B, C)."""
            mixed = torch.where(places[..., None], share * features + (1 - share) * others, features)
            # B batch, C classes, D width: only the diagonal of what a linear layer would give
            logits = torch.einsum('bcd,cd->bc', mixed, network.head.score.weight) + network.head.score.bias
            targets = torch.where(places, 1 - share.detach(), batch.observed)
            # before the start the shares take part all the same: several processes would wait for their gradients
            return self.known_loss(logits, targets if batch.epoch >= self.start else torch.full_like(targets, UNKNOWN))

        unknown = batch.observed == UNKNOWN
        shared = unknown & (batch.observed.flip(0) == POSITIVE)
        return {
            **self.losses(outputs, batch.observed),
            'loss_contrast': self.contrast_weight * contrast(features, batch.observed, self.negative_pairs),
            'loss_instance': blend(self.instance_share, features.flip(0), shared),
            'loss_prototype': blend(self.prototype_share, *self._draw(unknown)),
        }

    def _draw(self, unknown: Tensor) -> tuple[Tensor, Tensor]:
        """Args: unknown (B, C). Returns prototypes (B, C, D), and where (B, C), once in an image, they go."""
        numbers = torch.rand(unknown.shape, device=unknown.device)
        chances = torch.where(unknown & (self.available > 0), numbers, -1)
        best = chances.max(1, keepdim=True)
        places = torch.zeros_like(unknown).scatter(1, best.indices, best.values >= 0)
        which = (torch.rand_like(numbers) * self.available).long()  # below the number of them
        return self.prototypes[torch.arange(unknown.shape[1], device=unknown.device), which], places

    def _remember(self, features: Tensor, observed: Tensor) -> None:
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

    def after_step(self) -> None:
        with torch.no_grad():
            self.instance_share.clamp_(0, 1)
            self.prototype_share.clamp_(0, 1)

    def after_epoch(self) -> None:
        if self._epochs < self.start or (self._epochs - self.start) % self.renew:
            return
        for c, written in enumerate(self.written.tolist()):
            centres = cluster(self.memory[c, :written].cpu(), self.number)
            self.prototypes[c, : len(centres)] = centres.to(self.prototypes.device)
            self.available[c] = len(centres)
