"""DualCoOp: a prompt for and a prompt against each class (Sun et al., NeurIPS 2022)."""

from torch import Tensor

from sarlp.models.prompts import PromptHead
from sarlp.registry import MODELS


@MODELS.register_module()
class DualCoOpHead(PromptHead):
    """Tokens of CLIP against two learnt prompts a class, one for it and one against it.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        **options: of :class:`~sarlp.models.prompts.PromptHead`, but for ``kinds``.
    """

    def __init__(self, num_classes: int, in_channels: int, **options):
        super().__init__(num_classes, in_channels, kinds=2, **options)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        return self.compare(tokens, grid, *self.prompts())
