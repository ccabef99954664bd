"""Training on the known labels alone."""

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sarlp.errors import GraveWarning, UserError
from sarlp.losses.losses import computes_with_unknown, is_turned_round, learns_unknown
from sarlp.methods.base import Batch, Method, TaskInfo
from sarlp.methods.class_stats import class_prior
from sarlp.registry import METHODS, MODELS

if TYPE_CHECKING:  # which imports the methods
    from sarlp.models.network import Network


def build_loss(config: dict, where: str) -> nn.Module:
    """A loss against targets of which some are unknown.

    Args:
        config: of the loss.
        where: it stands, for the message.

    Raises:
        UserError: it takes the -1 of an unknown label for a number.
    """
    loss = MODELS.build(config)
    if computes_with_unknown(loss):
        raise UserError(
            f'{where}: {type(loss).__name__} computes with the -1 of unknown labels as with any number, and what it '
            'would teach of them is nonsense. Take a loss of sarlp (sarlp list --parts), or write one that leaves them '
            'out (CONTRIBUTING.md, "A loss")'
        )
    if taken := learns_unknown(loss):
        warnings.warn(
            f'{where}: {type(loss).__name__} takes unknown labels for {taken} ones. If that is not meant, leave them '
            'out: sarlp.losses.functional.read_target says which are known, and reduce_known takes these alone',
            stacklevel=2,
        )
    if is_turned_round(loss):
        warnings.warn(
            f'{where}: {type(loss).__name__} rises as positive labels get higher scores and negative ones lower ones, '
            'so that the opposite is learnt; look for a minus too many or too few',
            GraveWarning,
            stacklevel=2,
        )
    return loss


@METHODS.register_module()
class KnownLabels(Method):
    """A loss between the logits and the known labels: the plain baseline, and every paper that is a loss.

    Args:
        loss: config of a loss of (B, C) logits against (B, C) targets of 1 / 0 / -1.
        start_from_prior: begin with every class as likely as :func:`~sarlp.methods.class_stats.class_prior` says, so
            that what all images have in common need not be learnt. The head must know how (``expect``).
    """

    def __init__(self, loss: dict, start_from_prior: bool = False):
        super().__init__()
        self.known_loss = build_loss(loss, 'model.method.loss')
        self.start_from_prior = start_from_prior
        self._head: tuple[Any, ...] = ()

    def meet(self, network: 'Network') -> None:
        self._head = (network.head,)  # a tuple, so that the head is no part of the method

    def before_train(self, task: TaskInfo) -> None:
        if not self.start_from_prior:
            return
        (head,) = self._head
        if not hasattr(head, 'expect'):
            raise UserError(
                f'model.method.start_from_prior needs a head that has expect(prior), and {type(head).__name__} has '
                'none; leave it out, or take the head TokenHead'
            )
        head.expect(class_prior(task))

    def loss(self, network: 'Network', batch: Batch) -> dict[str, Tensor]:
        return self.losses(network(batch.image), batch.observed)

    def losses(self, outputs: dict[str, Tensor], observed: Tensor) -> dict[str, Tensor]:
        """Args: outputs of the network; observed (B, C). Returns scalars by name."""
        return {'loss_known': self.known_loss(outputs['logits'], observed)}
