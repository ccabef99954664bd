"""The head of ST, whose class maps are pooled by their mean and by their most salient cells (ICCV 2023)."""

from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.heads import MultiLabelHead
from sarlp.registry import MODELS


@MODELS.register_module()
class SaliencyHead(MultiLabelHead):
    """Saliency regularisation: ``s = mean_p A + alpha * mean of the k largest A``, A the class map of a linear layer.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        alpha: weight of the salient cells, >= 0; 0 leaves the mean alone.
        top_k: k, at least 1. A grid of fewer cells is taken whole.
    """

    last_layer = 'score'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        alpha: float = 0.5,
        top_k: int = 5,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        if alpha < 0 or type(top_k) is not int or top_k < 1:
            raise UserValueError(
                f'SaliencyHead: alpha must be at least 0 and top_k a whole number of at least 1, got {alpha!r} and '
                f'{top_k!r}'
            )
        self.alpha = alpha
        self.top_k = top_k
        self.score = nn.Linear(in_channels, num_classes)

    def pool(self, scores: Tensor) -> Tensor:
        salient = scores.topk(min(self.top_k, scores.shape[1]), 1).values.mean(1)
        return scores.mean(1) + self.alpha * salient

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W). Adds ``plain_logits`` (B, C), the mean alone."""
        self.check_tokens(tokens, grid)
        token_scores = self.score(tokens)
        return {
            'logits': self.pool(token_scores),
            'token_scores': token_scores,
            'plain_logits': token_scores.mean(1),
        }
