"""SGRE, the method that SARLP builds on (Zhu et al., IEEE TCSVT 2024)."""

import torch
from torch import Tensor, nn

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.models.dropout import Dropout
from sarlp.models.heads import MultiLabelHead
from sarlp.models.linear_norm import LinearNorm
from sarlp.registry import MODELS


class ClassGuidedTokens(nn.Module):
    """Give every token the class features that it resembles: ``x'_p = net4(sum_c softmax_c(q_p . k_c) u_c)``.

    ``q = net1(x)``, ``k = net2(r)`` and ``u = net3(r)``; each net is Linear without bias, BatchNorm and ReLU.

    Args:
        dim: width D of tokens and class features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query = LinearNorm(dim, dim, bias=False)
        self.key = LinearNorm(dim, dim, bias=False)
        self.value = LinearNorm(dim, dim, bias=False)
        self.out = LinearNorm(dim, dim, bias=False)

    def forward(self, tokens: Tensor, class_features: Tensor) -> Tensor:
        """Args: tokens (B, P, D); class_features (B, C, D). Returns (B, P, D)."""
        query = self.query(tokens).relu()
        key, value = self.key(class_features).relu(), self.value(class_features).relu()
        weights = (query @ key.transpose(1, 2)).softmax(2)
        return self.out(weights @ value).relu()


@MODELS.register_module()
class SGREHead(MultiLabelHead):
    """SGRE: class features by attention, classified; then tokens guided by them, classified. The latter predict.

    ``token_scores`` are the attention before its softmax over the tokens.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        label_embedding: config of the (C, T) label embeddings.
        encoder: config of the token encoder; None leaves the tokens as they are.
        attention_dim: width A of the bilinear attention.
        temperature: tau of the softmax over the tokens.
        dropout: inside the MLP, in [0, 1).
    """

    last_layer = 'mlp.3'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        label_embedding: dict,
        encoder: dict | None = None,
        attention_dim: int = 1024,
        temperature: float = 1.0,
        dropout: float = 0.5,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        self.label_embedding = MODELS.build({'num_classes': num_classes, **label_embedding})
        self.encoder = None if encoder is None else MODELS.build({'dim': in_channels, **encoder})
        self.attention = LowRankBilinearAttention(in_channels, self.label_embedding.dim, attention_dim)
        self.temperature = temperature
        self.class_score = nn.Linear(in_channels, num_classes)  # a weight row for the feature of each class
        self.guide = ClassGuidedTokens(in_channels)
        width = 2 * in_channels
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, num_classes))

    def pool(self, scores: Tensor) -> Tensor:
        return scores.max(1).values

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W). Adds ``class_feature_logits`` (B, C)."""
        self.check_tokens(tokens, grid)
        if self.encoder is not None:
            tokens = self.encoder(tokens, grid)
        attention = self.attention(tokens, self.label_embedding()) / self.temperature
        class_features = attention.softmax(1).transpose(1, 2) @ tokens
        # B batch, C classes, D width: only the diagonal of what a linear layer would give
        class_logits = torch.einsum('bcd,cd->bc', class_features, self.class_score.weight) + self.class_score.bias
        scores = self.mlp(torch.cat([tokens, self.guide(tokens, class_features)], 2))
        return {
            'logits': self.pool(scores),
            'token_scores': attention,
            'class_feature_logits': class_logits,
        }
