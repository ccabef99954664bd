"""Selective treatment of unknown labels (CSL; Ben-Baruch et al., CVPR 2022)."""

from torch import Tensor

from sarlp.labels import UNKNOWN
from sarlp.methods.base import Batch, TaskInfo
from sarlp.methods.class_stats import class_prior
from sarlp.methods.known_and_unknown import KnownAndUnknown, highest
from sarlp.registry import METHODS


@METHODS.register_module()
class SelectiveNegatives(KnownAndUnknown):
    """Unknown labels are assumed negative, but for those that are likely to be positive: they are left alone.

    The class-aware selective loss of the paper, together with its partial asymmetric loss: an asymmetric one with an
    exponent of its own for unknown labels.

    Args:
        loss, unknown_loss: see :class:`~sarlp.methods.known_and_unknown.KnownAndUnknown`.
        top_k: label likelihood: of a batch of B images, the ``top_k * B`` unknown labels with the highest scores are
            left alone, whichever images and classes they are of; >= 0.
        prior_threshold: label prior: all unknown labels are left alone of the classes that are there in more than this
            share of the images; None for none. The paper takes the share from the scores of a network that was trained
            before; here it comes from the known labels, :func:`~sarlp.methods.class_stats.class_prior`.
    """

    frequent: Tensor

    def __init__(
        self,
        loss: dict,
        unknown_loss: dict | None = None,
        top_k: int = 5,
        prior_threshold: float | None = 0.05,
    ):
        super().__init__(loss, unknown_loss)
        self.top_k = top_k
        self.prior_threshold = prior_threshold

    def before_train(self, task: TaskInfo) -> None:
        if self.prior_threshold is not None:
            self.register_buffer('frequent', class_prior(task) > self.prior_threshold)

    def assume(self, logits: Tensor, unknown: Tensor, batch: Batch) -> Tensor:
        likely = highest(logits, unknown, self.top_k * len(logits))
        if self.prior_threshold is not None:
            likely |= self.frequent
        return super().assume(logits, unknown, batch).masked_fill(likely, UNKNOWN)
