"""Query2Label: a learnt query a class looks at the tokens (Liu et al., arXiv 2107.10834)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.heads import MultiLabelHead
from sarlp.models.query_decoder import GroupWiseLinear, QueryDecoderLayer, scores_of
from sarlp.models.token_encoder import TokenEncoder
from sarlp.registry import MODELS


@MODELS.register_module()
class Q2LHead(MultiLabelHead):
    """Encoded tokens, a decoder with C learnt queries, and a linear layer for the feature of each class.

    As in DETR the decoder starts from zeros, the learnt queries are added where queries are compared, and the position
    code to the keys. ``token_scores`` are the logarithm of the last layer's attention.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        dim: width of the transformer, a multiple of 4 and of ``num_heads``; None takes that of the tokens.
        num_heads: attention heads.
        encoder_layers, decoder_layers: how many; at least 0 and 1.
        feedforward_dim: None takes four times the width.
        dropout: in [0, 1).
        self_attention: whether the queries attend to each other, as in the paper; the authors' code leaves it out
            unless it is asked for.
    """

    last_layer = 'score'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        dim: int | None = None,
        num_heads: int = 4,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
        self_attention: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        if decoder_layers < 1:
            raise UserValueError(f'Q2LHead: decoder_layers must be at least 1, got {decoder_layers}')
        dim = in_channels if dim is None else dim
        feedforward_dim = 4 * dim if feedforward_dim is None else feedforward_dim
        self.project = nn.Linear(in_channels, dim)
        self.encoder = TokenEncoder(dim, encoder_layers, num_heads, feedforward_dim, dropout)
        self.queries = nn.Parameter(torch.randn(num_classes, dim))
        self.decoder = nn.ModuleList(
            QueryDecoderLayer(dim, num_heads, feedforward_dim, dropout, self_attention) for _ in range(decoder_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.score = GroupWiseLinear(dim, num_classes)

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        self.check_tokens(tokens, grid)
        tokens = self.encoder(self.project(tokens), grid)
        key = tokens + self.encoder.position_code(grid, tokens)
        features = tokens.new_zeros(len(tokens), *self.queries.shape)
        for layer in self.decoder:
            features, attention = layer(features, key, tokens, self.queries)
        return {'logits': self.score(self.norm(features)), 'token_scores': scores_of(attention)}
