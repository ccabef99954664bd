"""A pointwise layer with BatchNorm, as several heads use it."""

from torch import Tensor, nn


class LinearNorm(nn.Module):
    """Linear and BatchNorm with the statistics taken over all rows of the batch.

    Args:
        in_dim, out_dim: widths.
        bias: of the linear layer.
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool = True):
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim, bias=bias)
        self.norm: nn.Module = nn.BatchNorm1d(out_dim)  # nn.Identity once it is folded

    def forward(self, rows: Tensor) -> Tensor:
        """Args: rows (B, N, in_dim). Returns (B, N, out_dim)."""
        return self.norm(self.linear(rows).flatten(0, 1)).unflatten(0, rows.shape[:2])
