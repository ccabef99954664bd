"""Semantic-guided feature enhancement (SGFE of SARLP, arXiv 2510.10055)."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.models.column_layers import column_layers
from sarlp.models.dropout import Dropout
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
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, tokens: Tensor, class_vectors: Tensor) -> Tensor:
        """Args: tokens (B, P, D); class_vectors (B, C, V) or, shared by all images, (C, V). Returns the token scores s
        (B, P, C).

        The first layer on ``[f_p ; x_p]`` is the sum of a layer on each. That of ``f_p``, which is a mean of class
        vectors, may be applied to these before the mean is taken, and is where that costs less.
        :func:`sarlp.models.literal.sgfe` is the formula.
        """
        first, *rest = self.mlp
        assert isinstance(first, nn.Linear)
        scores = self._first(first, tokens, class_vectors)
        for layer in rest:
            scores = layer(scores)
        return scores

    def _first(self, first: nn.Linear, tokens: Tensor, class_vectors: Tensor) -> Tensor:
        weights = self.attention(tokens, class_vectors).softmax(2)
        late = self._classes_first(tokens, class_vectors, first.out_features)
        guides = class_vectors if late else weights @ class_vectors
        guided, own = column_layers((guides, tokens), first.weight, first.bias, biased=1)
        return (weights @ guided if late else guided) + own

    @staticmethod
    def _classes_first(tokens: Tensor, class_vectors: Tensor, width: int) -> bool:
        """Whether multiplying the class vectors takes fewer multiplications than multiplying their means."""
        batch, places, _ = tokens.shape
        vectors, class_dim = class_vectors[..., 0].numel(), class_vectors.shape[-1]
        pairs = batch * places * class_vectors.shape[-2]
        return vectors * class_dim * width + pairs * width < pairs * class_dim + batch * places * class_dim * width
