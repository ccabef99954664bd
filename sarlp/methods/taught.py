"""Joint label recovery with a teacher."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN
from sarlp.losses import binary_cross_entropy
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.teacher import Teacher
from sarlp.registry import METHODS


@METHODS.register_module()
class Taught(KnownLabels):
    """What the teacher believes of the weak view is the target of every unknown label on the strong one.

    ``loss(known labels) + pseudo_weight * cross entropy(unknown labels, sigmoid(teacher / temperature))``, both on the
    strong view, each divided by the number of its own labels, so that their ratio depends neither on the share of known
    labels nor on the number of classes. In SARLP the targets come from the view and the weights that they teach, and
    reach the encoder about a hundredth as strongly as the known labels do.

    Args:
        loss: config of the loss on the known labels.
        pseudo_weight: factor of the second part, >= 0.
        temperature: of the teacher's belief, > 0; below 1 sharpens it.
        start_from_prior: see :class:`~sarlp.methods.KnownLabels`.
    """

    views = ('weak', 'strong')
    teacher: Teacher

    def __init__(
        self, loss: dict, pseudo_weight: float = 1.0, temperature: float = 0.5, start_from_prior: bool = False
    ):
        super().__init__(loss, start_from_prior)
        if pseudo_weight < 0 or temperature <= 0:
            raise UserValueError(
                'model.method: pseudo_weight must be at least 0 and temperature above 0, got '
                f'{pseudo_weight!r} and {temperature!r}'
            )
        self.pseudo_weight = pseudo_weight
        self.temperature = temperature
        self.teacher = Teacher()

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        belief = torch.sigmoid(self.teacher(batch.images['weak'])['logits'].float() / self.temperature)
        logits = network(batch.images['strong'])['logits']
        pseudo = torch.where(batch.observed == UNKNOWN, belief, torch.full_like(belief, UNKNOWN))
        return {
            'loss_known': self.known_loss(logits, batch.observed),
            'loss_pseudo': self.pseudo_weight * binary_cross_entropy(logits, pseudo, 'mean_known'),
        }
