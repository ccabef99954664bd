"""Transformer encoder over the visual tokens (DETR's layer, Carion et al., ECCV 2020)."""

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.registry import MODELS


def sine_position_code(
    height: int,
    width: int,
    channels: int,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Fixed 2-D sine position code (Carion et al., ECCV 2020), normalised to 2 pi over each axis.

    Args:
        height, width: the token grid.
        channels: a multiple of 4; the first half codes the row, the second half the column.
        temperature: base of the wavelengths.
        device: where it is computed, so that a step has nothing to copy; None for torch's default.

    Returns:
        (height * width, channels) float32, row-major.
    """
    if channels % 4:
        raise ValueError(f'the sine position code needs a multiple of 4 channels, got {channels}')
    half = channels // 2
    wavelength = temperature ** (2 * (torch.arange(half, dtype=torch.float32, device=device) // 2) / half)

    def axis(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device) / (length + 1e-6) * (2 * math.pi)
        angle = position[:, None] / wavelength
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1)  # sin and cos interleaved

    rows = axis(height)[:, None].expand(height, width, half)
    columns = axis(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], 2).flatten(0, 1)


class TokenEncoderLayer(nn.TransformerEncoderLayer):
    """torch's encoder layer with the position code added to query and key only, never to value."""

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:  # type: ignore[override]  # has no mask
        """Args: tokens (B, P, D); position (P, D). Returns (B, P, D)."""
        if self.norm_first:
            tokens = tokens + self._attend(self.norm1(tokens), position)
            return tokens + self._ff_block(self.norm2(tokens))
        tokens = self.norm1(tokens + self._attend(tokens, position))
        return self.norm2(tokens + self._ff_block(tokens))

    def _attend(self, tokens: Tensor, position: Tensor) -> Tensor:
        query = tokens + position
        return self.dropout1(self.self_attn(query, query, tokens, need_weights=False)[0])

    def _ff_block(self, tokens: Tensor) -> Tensor:
        # the dropout before the ReLU, which keeps its own output: the same numbers, and a tensor less in memory
        return self.dropout2(self.linear2(self.activation(self.dropout(self.linear1(tokens)))))


@MODELS.register_module()
class TokenEncoder(BaseModule):
    """Transformer encoder over a grid of visual tokens.

    Args:
        dim: token width D, a multiple of 4 and of ``num_heads``.
        num_layers: encoder layers.
        num_heads: attention heads.
        feedforward_dim: width of the feed-forward part.
        dropout: in [0, 1).
        pre_norm: normalise before instead of after each part, and once more at the end.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 1,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        pre_norm: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.layers = nn.ModuleList(
            TokenEncoderLayer(dim, num_heads, feedforward_dim, dropout, batch_first=True, norm_first=pre_norm)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()
        # not a buffer: the average model of EMAHook pairs buffers by position, and this one depends on the last input
        self._position: dict[tuple, Tensor] = {}

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W), P = H * W. Returns (B, P, D)."""
        position = self.position_code(grid, tokens)
        for layer in self.layers:
            tokens = layer(tokens, position)
        return self.norm(tokens)

    def position_code(self, grid: tuple[int, int], tokens: Tensor) -> Tensor:
        """(H * W, D) for tokens (B, H * W, D), on their device and of their dtype; see :func:`sine_position_code`."""

        def make() -> Tensor:
            return sine_position_code(*grid, tokens.shape[-1], device=tokens.device).to(tokens.dtype)

        if torch.compiler.is_compiling():  # what a CUDA graph makes is gone with its next run, so nothing is kept
            return make()
        key = (grid, tokens.shape[-1], tokens.device, tokens.dtype)
        if key not in self._position:
            self._position = {key: make()}
        return self._position[key]
