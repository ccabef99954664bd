"""Joint label recovery, the training of SARLP (arXiv 2510.10055)."""

import torch
from torch import Tensor

from sarlp.errors import UserError
from sarlp.labels import UNKNOWN
from sarlp.methods.known_labels import KnownLabels
from sarlp.registry import METHODS, MODELS


def pseudo_targets(logits: Tensor, target: Tensor) -> Tensor:
    """Targets of the recovery loss: the label where it is known, the model's own belief where it is not.

    ``sigmoid(z_c * max over classes of z)`` for an unknown label: the more certain the model is of the most certain
    class of the image, the sharper the belief about all of them. No gradient flows through it.

    Args:
        logits: (B, C) class logits z.
        target: (B, C) of 1 / 0 / -1.

    Returns:
        (B, C) in [0, 1].
    """
    logits = logits.detach().float()
    belief = torch.sigmoid(logits * logits.max(1, keepdim=True).values)
    return torch.where(target == UNKNOWN, belief, target.to(belief.dtype))


@METHODS.register_module()
class SARLP(KnownLabels):
    """The known labels teach the classifier, and its beliefs teach the recovery branch beside it.

    Args:
        loss: config of the loss on the known labels.
        recovery_loss: config of the loss between the ``recovery_logits`` of the head and :func:`pseudo_targets`; None
            leaves the recovery out, together with the head's ``recovery=None`` (the ablation ``sarlp_wo_jls``).
    """

    def __init__(self, loss: dict, recovery_loss: dict | None = None):
        super().__init__(loss)
        self.recovery_loss = None if recovery_loss is None else MODELS.build(recovery_loss)

    def losses(self, outputs: dict[str, Tensor], observed: Tensor) -> dict[str, Tensor]:
        losses = super().losses(outputs, observed)
        if (self.recovery_loss is None) != ('recovery_logits' not in outputs):
            missing, switch = (
                ('recovery branch', 'model.method.recovery_loss=None')
                if self.recovery_loss is not None
                else ('recovery_loss', 'model.head.recovery=None')
            )
            raise UserError(f'joint label recovery has no {missing}; give it one, or leave it out with {switch}')
        if self.recovery_loss is not None:
            targets = pseudo_targets(outputs['logits'], observed)
            losses['loss_recovery'] = self.recovery_loss(outputs['recovery_logits'], targets)
        return losses
