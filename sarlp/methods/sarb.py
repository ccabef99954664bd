"""Semantic-aware representation blending (SARB; Pu et al., AAAI 2022)."""

import torch
from torch import Tensor, nn

from sarlp.labels import POSITIVE, UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.class_features import OnClassFeatures, class_features, contrast
from sarlp.models.network import Network
from sarlp.registry import METHODS


def cluster(points: Tensor, number: int) -> Tensor:
    """Centres (k, D) of (n, D) points on the CPU by k-means, k at most ``number``; the points themselves if so few."""
    from sklearn.cluster import KMeans

    distinct = points.unique(dim=0)
    if len(distinct) <= number:
        return distinct
    return torch.from_numpy(KMeans(number, n_init=1, random_state=0).fit(distinct.numpy()).cluster_centers_)


@METHODS.register_module()
class SARB(OnClassFeatures):
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
        memory: features of each class that are kept for them, see
            :class:`~sarlp.methods.class_features.OnClassFeatures`.
        contrast_weight: factor of :func:`~sarlp.methods.class_features.contrast`.
        negative_pairs: of it; True as in the authors' code.
    """

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
        super().__init__(loss, memory)
        self.start = start
        self.renew = renew
        self.number = prototypes
        self.contrast_weight = contrast_weight
        self.negative_pairs = negative_pairs
        self.instance_share = nn.Parameter(torch.tensor(0.5))  # a
        self.prototype_share = nn.Parameter(torch.tensor(0.5))  # b

    def before_train(self, task: TaskInfo) -> None:
        super().before_train(task)
        classes = task.num_classes
        self.register_buffer('prototypes', torch.zeros(classes, self.number, self.width))
        self.register_buffer('available', torch.zeros(classes, dtype=torch.int64))  # prototypes

    def first_epoch(self, num_epochs: int) -> int:
        return self.start

    def loss(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        self._epochs = batch.epoch + 1
        tokens, grid = network.extract_tokens(batch.image)
        outputs = network.head(tokens, grid)
        features = class_features(tokens, outputs['token_scores'])
        self.remember(features.detach(), batch.observed)

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
