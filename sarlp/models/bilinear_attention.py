"""Low-rank bilinear attention between visual tokens and class vectors (METHOD: SGFE)."""

import torch
from torch import Tensor, nn


class LowRankBilinearAttention(nn.Module):
    """Unnormalised attention of every token to every class.

    ``a[p, c] = target(hidden(tanh(token(x_p) * label(v_c))))``. Nothing stands between ``hidden`` and ``target``, so
    the two are multiplied into one vector before they meet the (B, P, C, A) grid; parameters keep the textbook form.

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
        """Args: tokens (B, P, D); class_vectors (B, C, V) or, shared by all images, (C, V). Returns (B, P, C)."""
        u = self.token(tokens)
        v = self.label(class_vectors).expand(len(tokens), -1, -1)
        weight = self.target.weight[0] @ self.hidden.weight
        bias = self.target.weight[0] @ self.hidden.bias + self.target.bias
        # B batch, P tokens, C classes, A attention width
        grid = torch.tanh(u[:, :, None] * v[:, None])
        return grid @ weight + bias
