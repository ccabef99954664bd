"""The branch that recovers labels beside the classifier (arXiv 2510.10055, joint label recovery)."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.registry import MODELS


@MODELS.register_module()
class LabelRecovery(BaseModule):
    """A second classifier on the tokens; how it is taught is in :class:`sarlp.methods.SARLP`.

    Args:
        num_classes: number of classes C.
        token_dim: token width D.
    """

    def __init__(self, num_classes: int, token_dim: int, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.score = nn.Linear(token_dim, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Args: tokens (B, P, D). Returns the recovery logits m (B, C), the maximum over the tokens."""
        return self.score(tokens).max(1).values
