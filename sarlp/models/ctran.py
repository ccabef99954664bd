"""C-Tran: a token for each label, that says what is known of it (Lanchantin et al., CVPR 2021)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.labels import POSITIVE, UNKNOWN
from sarlp.models.heads import MultiLabelHead
from sarlp.models.query_decoder import GroupWiseLinear, scores_of
from sarlp.registry import MODELS


class AttendingLayer(nn.TransformerEncoderLayer):
    """torch's encoder layer, whose attention is returned, too."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # has no mask, see the class
        """Args: tokens (B, N, D). Returns them, and their attention (B, N, N), the mean over the heads."""
        seen, attention = self.self_attn(tokens, tokens, tokens)
        tokens = self.norm1(tokens + self.dropout1(seen))
        return self.norm2(tokens + self._ff_block(tokens)), attention


@MODELS.register_module()
class CTranHead(MultiLabelHead):
    """Image tokens and label tokens through one transformer, and a linear layer for the token of each label.

    A label token is the embedding of the label plus that of its state, which of an unknown label is 0. With the states
    of some labels given the others are predicted by them, too; ``network(images, states=states)``. ``token_scores`` are
    the logarithm of the last layer's attention of the labels to the image.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        dim: width of the transformer, a multiple of ``num_heads``; None takes that of the tokens, as in the paper.
        num_layers: at least 1.
        num_heads: attention heads.
        feedforward_dim: None takes the width, as the authors' code does.
        dropout: in [0, 1).
    """

    last_layer = 'score'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        dim: int | None = None,
        num_layers: int = 3,
        num_heads: int = 4,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        if num_layers < 1:
            raise UserValueError(f'CTranHead: num_layers must be at least 1, got {num_layers}')
        self.project = nn.Identity() if dim is None else nn.Linear(in_channels, dim)
        dim = in_channels if dim is None else dim
        feedforward_dim = dim if feedforward_dim is None else feedforward_dim
        self.labels = nn.Parameter(0.02 * torch.randn(num_classes, dim))
        self.states = nn.Parameter(0.02 * torch.randn(2, dim))  # known negative, known positive
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            AttendingLayer(dim, num_heads, feedforward_dim, dropout, batch_first=True) for _ in range(num_layers)
        )
        self.score = GroupWiseLinear(dim, num_classes)

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, tokens: Tensor, grid: tuple[int, int], states: Tensor | None = None) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W); states (B, C) of 1 / 0 / -1, what is known of the
        labels; None where nothing is.
        """
        self.check_tokens(tokens, grid)
        labels = self.labels.expand(len(tokens), -1, -1)
        if states is not None:
            if states.shape != labels.shape[:2]:
                raise UserValueError(
                    f'states must be (B, C) = {tuple(labels.shape[:2])} of 1 / 0 / -1, got {tuple(states.shape)}'
                )
            own = self.states[(states == POSITIVE).long()]
            labels = labels + torch.where((states == UNKNOWN)[..., None], torch.zeros_like(own), own)
        rows = self.norm(torch.cat([self.project(tokens), labels], 1))
        for layer in self.layers:
            rows, attention = layer(rows)
        places = tokens.shape[1]
        return {
            'logits': self.score(rows[:, places:]),
            'token_scores': scores_of(attention[:, places:, :places]),
        }
