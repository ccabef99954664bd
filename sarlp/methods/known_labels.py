"""Training on the known labels alone."""

from torch import Tensor, nn

from sarlp.methods.base import Batch, Method
from sarlp.registry import METHODS, MODELS


@METHODS.register_module()
class KnownLabels(Method):
    """A loss between the logits and the known labels: the plain baseline, and every paper that is a loss.

    Args:
        loss: config of a loss of (B, C) logits against (B, C) targets of 1 / 0 / -1.
    """

    def __init__(self, loss: dict):
        super().__init__()
        self.known_loss = MODELS.build(loss)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return self.losses(network(batch.image), batch.observed)

    def losses(self, outputs: dict[str, Tensor], observed: Tensor) -> dict[str, Tensor]:
        """Args: outputs of the network; observed (B, C). Returns scalars by name."""
        return {'loss_known': self.known_loss(outputs['logits'], observed)}
