"""Structured semantic transfer (SST; Chen et al., AAAI 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sarlp.errors import UserError, UserValueError
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.class_features import OnClassFeatures, class_features, contrast
from sarlp.methods.known_labels import build_loss
from sarlp.models.network import Network
from sarlp.registry import METHODS


class Cooccurrence(nn.Module):
    """Logit of each pair of classes that an image has both: ``w_ij . (W3 ReLU(W2 [W1 u_i, W1 u_j]))``, with biases.

    The layer on two features side by side is computed as the sum of one on each, and ``w_ij W3`` once for all images.

    Args:
        width: D of the features.
        classes: C >= 2; there are C (C - 1) / 2 pairs.
        narrow_dim: of ``W1``.
        pair_dim: of ``W2`` and ``W3``. A step holds B pairs pair_dim numbers, and their gradient.
    """

    first: Tensor
    second: Tensor

    def __init__(self, width: int, classes: int, narrow_dim: int, pair_dim: int):
        super().__init__()
        first, second = torch.triu_indices(classes, classes, 1)
        self.register_buffer('first', first, persistent=False)
        self.register_buffer('second', second, persistent=False)
        self.narrow = nn.Linear(width, narrow_dim)
        self.join = nn.Linear(2 * narrow_dim, pair_dim)
        self.widen = nn.Linear(pair_dim, pair_dim)
        self.score = nn.Linear(pair_dim, len(first))  # a row a pair

    def forward(self, features: Tensor) -> Tensor:
        """Args: features (B, C, D). Returns (B, pairs): (0, 1), (0, 2), ..., (C - 2, C - 1)."""
        narrow = self.narrow(features)
        left, right = self.join.weight.chunk(2, 1)
        joined = F.linear(narrow, left)[:, self.first] + F.linear(narrow, right, self.join.bias)[:, self.second]
        rows = self.score.weight @ self.widen.weight
        return torch.einsum('bpd,pd->bp', joined.relu(), rows) + self.score(self.widen.bias)

    def targets(self, observed: Tensor) -> Tensor:
        """Whether both are there, in three-valued logic: (B, C) of 1 / 0 / -1 to (B, pairs) of 1 / 0 / -1."""
        one, other = observed[:, self.first], observed[:, self.second]
        both = torch.where((one == POSITIVE) & (other == POSITIVE), POSITIVE, UNKNOWN)
        return torch.where((one == NEGATIVE) | (other == NEGATIVE), NEGATIVE, both).to(observed.dtype)

    def with_the_known(self, logits: Tensor, positive: Tensor) -> Tensor:
        """How likely a class comes with those that are known to be there.

        Args:
            logits: (B, pairs).
            positive: (B, C) bool, known to be there.

        Returns:
            (B, C): the mean of the pairs' probabilities over the known ones; 0 where an image has none. Of a class
            that is known to be there itself it means nothing.
        """
        pairs = logits.new_zeros(*positive.shape, positive.shape[1])
        pairs[:, self.first, self.second] = logits.sigmoid()
        pairs = pairs + pairs.transpose(1, 2)
        known = positive.to(pairs.dtype)
        return (pairs @ known[..., None]).squeeze(2) / known.sum(1, keepdim=True).clamp(min=1)


@METHODS.register_module()
class SST(OnClassFeatures):
    """Known positives find others: within an image by co-occurrence, in other images by likeness.

    - Within: a network of its own tells of each pair of classes whether the image has both. A class that it finds
      beside those that are known to be there, by ``within_margin`` or more on average, is taken to be there.
    - Across: so is one whose feature has a mean cosine of ``across_margin`` or more to those that are remembered, of
      images in which the class is known to be.

    Each of the two then has a loss of its own, on the known labels and on what it found. Nothing is ever found to be
    absent. Both margins begin at ``start`` and fall by ``margin_step`` an epoch to ``least_margin``.

    The paper makes its features by semantic decoupling and a graph network over the classes; here they are those that
    BaselineHead classifies. A feature that is not remembered yet counts in no mean, in the authors' code as a cosine of
    0. Their code lets the co-occurrence and the contrast grow over the first epoch, and takes a part of the contrast's
    pairs of negatives.

    Args:
        loss: config of the loss on logits.
        pair_loss: config of the loss on pairs.
        pair_weight: factor of it.
        unknown_pairs: what a pair is of which a class is unknown and none known to be absent: ``'negative'``, as in the
            authors' code, or ``'ignored'``.
        start: epochs before anything is found.
        within_margin, across_margin, margin_step, least_margin: see above.
        memory: see :class:`~sarlp.methods.class_features.OnClassFeatures`.
        contrast_weight: factor of :func:`~sarlp.methods.class_features.contrast`.
        negative_pairs: of it; True as in the authors' code.
        narrow_dim, pair_dim: of :class:`Cooccurrence`.
    """

    def __init__(
        self,
        loss: dict,
        pair_loss: dict,
        pair_weight: float = 10.0,
        unknown_pairs: str = 'negative',
        start: int = 5,
        within_margin: float = 0.95,
        across_margin: float = 0.95,
        margin_step: float = 0.025,
        least_margin: float = 0.75,
        memory: int = 100,
        contrast_weight: float = 0.05,
        negative_pairs: bool = False,
        narrow_dim: int = 512,
        pair_dim: int = 1024,
    ):
        super().__init__(loss, memory)
        if unknown_pairs not in ('negative', 'ignored'):
            raise UserValueError(f"unknown_pairs must be 'negative' or 'ignored', got {unknown_pairs!r}")
        self.pair_loss = build_loss(pair_loss, 'model.method.pair_loss')
        self.pair_weight = pair_weight
        self.unknown_pairs = unknown_pairs
        self.start = start
        self.within_margin = within_margin
        self.across_margin = across_margin
        self.margin_step = margin_step
        self.least_margin = least_margin
        self.contrast_weight = contrast_weight
        self.negative_pairs = negative_pairs
        self.narrow_dim = narrow_dim
        self.pair_dim = pair_dim

    def before_train(self, task: TaskInfo) -> None:
        super().before_train(task)
        if task.num_classes < 2:
            raise UserError('SST learns which classes come together, and there is one; take another method')
        self.cooccurrence = Cooccurrence(self.width, task.num_classes, self.narrow_dim, self.pair_dim)

    def first_epoch(self, num_epochs: int) -> int:
        return self.start

    def loss(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        tokens, grid = network.extract_tokens(batch.image)
        outputs = network.head(tokens, grid)
        features = class_features(tokens, outputs['token_scores'])
        self.remember(features.detach(), batch.observed)
        pairs = self.cooccurrence(features)
        pair_targets = self.cooccurrence.targets(batch.observed)
        if self.unknown_pairs == 'negative':
            pair_targets = torch.where(pair_targets == UNKNOWN, NEGATIVE, pair_targets)
        with torch.no_grad():
            within = self.cooccurrence.with_the_known(pairs.float(), batch.observed == POSITIVE)
            across = self._likeness(features.float())
        within_targets = self._with_found(batch, within, self.within_margin)
        across_targets = self._with_found(batch, across, self.across_margin)
        return {
            **self.losses(outputs, batch.observed),
            'loss_contrast': self.contrast_weight * contrast(features, batch.observed, self.negative_pairs),
            'loss_pairs': self.pair_weight * self.pair_loss(pairs, pair_targets),
            'loss_within': self.known_loss(outputs['logits'], within_targets),
            'loss_across': self.known_loss(outputs['logits'], across_targets),
        }

    def _margin(self, margin: float, epoch: int) -> float:
        return max(margin - self.margin_step * (epoch - self.start), self.least_margin)

    def _likeness(self, features: Tensor) -> Tensor:
        """Mean cosine of features (B, C, D) to those that are remembered of the class, (B, C); -1 where none is."""
        held = torch.arange(self.size, device=features.device) < self.written[:, None]
        directions = torch.where(held[..., None], F.normalize(self.memory, dim=2), 0).sum(1)  # (C, D)
        number = held.sum(1)
        cosine = (F.normalize(features, dim=2) * directions).sum(2) / number.clamp(min=1)
        return torch.where(number > 0, cosine, -1)

    def _with_found(self, batch: Batch, scores: Tensor, margin: float) -> Tensor:
        """Known labels, and what scores (B, C) find by a margin; before the start none, so that the loss is 0."""
        if batch.epoch < self.start:
            return torch.full_like(batch.observed, UNKNOWN)
        found = (batch.observed == UNKNOWN) & (scores >= self._margin(margin, batch.epoch))
        return torch.where(found, POSITIVE, batch.observed)
