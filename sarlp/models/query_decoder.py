"""What heads with a query a class share: a decoder layer that shows its attention, a linear layer of class features."""

import torch
from torch import Tensor, nn


class QueryDecoderLayer(nn.TransformerDecoderLayer):
    """torch's decoder layer of which the queries may leave each other alone, and whose attention is returned.

    Args:
        dim: width D of queries and tokens, a multiple of ``num_heads``.
        num_heads: attention heads.
        feedforward_dim: width of the feed-forward part.
        dropout: in [0, 1).
        self_attention: False puts the identity in its place, with the residual and the normalisation round it.
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float, self_attention: bool):
        super().__init__(dim, num_heads, feedforward_dim, dropout, batch_first=True)
        if not self_attention:
            del self.self_attn
        self.self_attention = self_attention

    def forward(  # type: ignore[override]  # has no mask, and returns its attention, too
        self, queries: Tensor, key: Tensor, value: Tensor, code: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Args: queries (B, Q, D); key, value (B, P, D); code (Q, D), added to the queries where they are compared.

        Returns the queries (B, Q, D) and their attention (B, Q, P), the mean over the heads.
        """
        own = queries
        if self.self_attention:
            own = self.self_attn(queries + code, queries + code, queries, need_weights=False)[0]
        queries = self.norm1(queries + self.dropout1(own))
        seen, attention = self.multihead_attn(queries + code, key, value)
        queries = self.norm2(queries + self.dropout2(seen))
        return self.norm3(queries + self._ff_block(queries)), attention


class GroupWiseLinear(nn.Linear):
    """A weight row for the feature of each class (Liu et al., 2021, eq. 6): ``z_c = w_c . q_c + b_c``.

    Args:
        dim: width D.
        num_classes: C.
    """

    def __init__(self, dim: int, num_classes: int):
        super().__init__(dim, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Args: features (B, C, D). Returns (B, C): the diagonal of what a linear layer would give."""
        return torch.einsum('bcd,cd->bc', features, self.weight) + self.bias


def scores_of(attention: Tensor) -> Tensor:
    """Attention (B, C, P) as ``token_scores`` (B, P, C), whose softmax over the tokens it is again."""
    return attention.transpose(1, 2).clamp(min=torch.finfo(attention.dtype).tiny).log()
