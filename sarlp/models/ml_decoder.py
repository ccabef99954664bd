"""ML-Decoder: fixed random queries, each for a group of classes (Ridnik et al., WACV 2023)."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.heads import MultiLabelHead
from sarlp.models.query_decoder import GroupWiseLinear, QueryDecoderLayer, scores_of
from sarlp.registry import MODELS


@MODELS.register_module()
class MLDecoderHead(MultiLabelHead):
    """Queries that are drawn once and never trained, decoder layers without self-attention, and group-wise scores.

    Of K queries each serves ``ceil(C / K)`` classes that follow each other, with a weight row for each. As in the
    authors' code there are min(K, C) queries. ``token_scores`` are the logarithm of the last layer's attention, the
    same for the classes of a group.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        num_queries: K.
        dim: width of the decoder, a multiple of ``num_heads``.
        num_heads: attention heads.
        num_layers: decoder layers, at least 1.
        feedforward_dim: width of the feed-forward part.
        dropout: in [0, 1).
    """

    last_layer = 'score'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_queries: int = 100,
        dim: int = 768,
        num_heads: int = 8,
        num_layers: int = 1,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        if num_queries < 1 or num_layers < 1:
            raise UserValueError(
                f'MLDecoderHead: num_queries and num_layers must be at least 1, got {num_queries} and {num_layers}'
            )
        queries = min(num_queries, num_classes)
        group = -(-num_classes // queries)
        self.project = nn.Linear(in_channels, dim)
        self.register_buffer('queries', torch.randn(queries, dim))
        self.register_buffer('query_of', torch.arange(num_classes) // group, persistent=False)
        self.decoder = nn.ModuleList(
            QueryDecoderLayer(dim, num_heads, feedforward_dim, dropout, self_attention=False) for _ in range(num_layers)
        )
        self.score = GroupWiseLinear(dim, num_classes)

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        self.check_tokens(tokens, grid)
        tokens = self.project(tokens).relu()
        features = self.queries.expand(len(tokens), -1, -1)
        for layer in self.decoder:
            features, attention = layer(features, tokens, tokens)
        return {
            'logits': self.score(features[:, self.query_of]),
            'token_scores': scores_of(attention[:, self.query_of]),
        }
