"""Low-rank bilinear attention between visual tokens and class vectors (that of SGFE, arXiv 2510.10055)."""

import torch
from torch import Tensor, nn

from sarlp.models.tanh_grid import tanh_grid


class LowRankBilinearAttention(nn.Module):
    """Unnormalised attention of every token to every class.

    ``a[p, c] = target(hidden(tanh(token(x_p) * label(v_c))))``. Nothing stands between ``hidden`` and ``target``, so
    the two are multiplied into one vector before they meet the (B, P, C, A) grid, and the grid is summed up without
    being held; parameters keep the textbook form. :func:`sarlp.models.literal.bilinear_attention` is the formula.

    Args:
        token_dim: token width D.
        class_dim: class vector width V.
        hidden_dim: attention width A.
    """

    def __init__(self, token_dim: int, class_dim: int, hidden_dim: int):
        super().__init__()
        self.token = nn.Linear(token_dim, hidden_dim, bias=False)
        self.label = nn.Linear(class_dim, hidden_dim, bias=False)
        self.hidden = nn.Linear(hidden_dim, hidden_dim)
        self.target = nn.Linear(hidden_dim, 1)

    def forward(self, tokens: Tensor, class_vectors: Tensor) -> Tensor:
        """Args: tokens (B, P, D); class_vectors (B, C, V) or, shared by all images, (C, V).

        Returns (B, P, C), in float32 also under autocast: its softmax over a thousand classes is no place to round.
        """
        u = self.token(tokens)
        v = self.label(class_vectors)
        with torch.autocast(u.device.type, enabled=False):
            weight = self.target.weight[0] @ self.hidden.weight
            bias = self.target.weight[0] @ self.hidden.bias + self.target.bias
            return tanh_grid(u, v if v.ndim == 3 else v[None], weight) + bias
