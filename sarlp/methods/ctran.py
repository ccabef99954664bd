"""The training of C-Tran: some of the known labels are shown, the others are to be found (Lanchantin et al., 2021)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import UNKNOWN
from sarlp.methods.base import Batch
from sarlp.methods.known_labels import KnownLabels
from sarlp.registry import METHODS


def show_some(observed: Tensor, most: float) -> Tensor:
    """The states that are shown: of K known labels of an image, n chosen at random, n uniform in 0 ... floor(most K).

    Args:
        observed: (B, C) of 1 / 0 / -1.
        most: the largest share, in [0, 1).

    Returns:
        (B, C), ``observed`` where it is shown and -1 elsewhere.
    """
    known = observed != UNKNOWN
    largest = (known.sum(1) * most).floor()
    number = (torch.rand_like(largest) * (largest + 1)).floor().clamp(max=largest)
    order = torch.where(known, torch.rand_like(observed), 2.0)  # the unknown ones come last
    rank = order.argsort(1).argsort(1)
    return torch.where(rank < number[:, None], observed, torch.full_like(observed, UNKNOWN))


@METHODS.register_module()
class CTran(KnownLabels):
    """Label mask training: the loss is on known labels that the network was not shown.

    Args:
        loss: config of the loss on them.
        most: largest share of the known labels of an image that is shown, in [0, 1); 0.75 in the paper.
    """

    def __init__(self, loss: dict, most: float = 0.75):
        super().__init__(loss)
        if not 0 <= most < 1:
            raise UserValueError(f'CTran: most must be in [0, 1), got {most!r}')
        self.most = most

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        shown = show_some(batch.observed, self.most)
        hidden = torch.where(shown == UNKNOWN, batch.observed, torch.full_like(shown, UNKNOWN))
        return self.losses(network(batch.image, states=shown), hidden)
