"""Semantic-guided feature enhancement (METHOD: SARLP, 2; arXiv 2510.10055)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.registry import MODELS


@MODELS.register_module()
class SGFE(BaseModule):
    """Enhance every token by the class vectors it attends to, and score it for every class.

    ``f_p = sum_c softmax_c(a[p, :]) v_c`` and ``s[p, :] = MLP([f_p ; x_p])``.

    Args:
        num_classes: number of classes C.
        token_dim: token width D.
        class_dim: class vector width V.
        attention_dim: width A of the bilinear attention.
        dropout: inside the MLP, in [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        token_dim: int,
        class_dim: int,
        attention_dim: int = 1024,
        dropout: float = 0.5,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.attention = LowRankBilinearAttention(token_dim, class_dim, attention_dim)
        width = class_dim + token_dim
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, tokens: Tensor, class_vectors: Tensor) -> Tensor:
        """Args: tokens (B, P, D); class_vectors (B, C, V) or (C, V). Returns the token scores s (B, P, C)."""
        weights = self.attention(tokens, class_vectors).softmax(2)
        guided = weights @ class_vectors
        return self.mlp(torch.cat([guided, tokens], 2))
