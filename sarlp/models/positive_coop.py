"""PositiveCoOp: a prompt for each class, and a free vector against it (Rawlekar et al., WACV 2025)."""

import torch
from torch import Tensor, nn

from sarlp.models.prompts import PromptHead
from sarlp.registry import MODELS


@MODELS.register_module()
class PositiveCoOpHead(PromptHead):
    """Tokens of CLIP against a learnt prompt for each class, and against a free vector that no text encoder made.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        **options: of :class:`~sarlp.models.prompts.PromptHead`, but for ``kinds``.
    """

    def __init__(self, num_classes: int, in_channels: int, **options):
        super().__init__(num_classes, in_channels, kinds=1, **options)
        self.negative = nn.Parameter(torch.randn(num_classes, in_channels))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        (positive,) = self.prompts()
        return self.compare(tokens, grid, positive, nn.functional.normalize(self.negative, dim=1))
