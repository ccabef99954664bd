"""BoostLU: evidence for a class counts more than its absence (Kim et al., CVPR 2023)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.heads import MultiLabelHead
from sarlp.registry import MODELS


@MODELS.register_module()
class BoostLUHead(MultiLabelHead):
    """``z = mean_p max(A, alpha A)``: the positive cells of the class map A times alpha before the mean is taken.

    ``token_scores`` are the boosted map.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        alpha: >= 1; 1 is global average pooling.
    """

    last_layer = 'score'

    def __init__(self, num_classes: int, in_channels: int, alpha: float = 5.0, init_cfg: dict | None = None):
        super().__init__(num_classes, in_channels, init_cfg)
        if alpha < 1:
            raise UserValueError(f'BoostLUHead: alpha must be at least 1, got {alpha!r}')
        self.alpha = alpha
        self.score = nn.Linear(in_channels, num_classes)

    def boost(self, scores: Tensor) -> Tensor:
        return torch.where(scores > 0, self.alpha * scores, scores)

    def pool(self, scores: Tensor) -> Tensor:
        return self.boost(scores).mean(1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        self.check_tokens(tokens, grid)
        scores = self.score(tokens)
        return {'logits': self.pool(scores), 'token_scores': self.boost(scores)}
