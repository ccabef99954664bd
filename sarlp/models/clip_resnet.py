"""CLIP's ResNet image encoder with dense tokens (Radford et al., ICML 2021), as docs/method.md uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserError, shorten
from sarlp.io.clip_weights import read_clip_weights
from sarlp.io.state_dicts import differences
from sarlp.models.lora import add_lora
from sarlp.registry import MODELS


def resize_position(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a positional embedding bicubically.

    Args:
        position: (1 + N * N, E); the first row belongs to the mean token and is kept.
        grid: (H, W).

    Returns:
        (1 + H * W, E), row-major.
    """
    side = round((len(position) - 1) ** 0.5)
    if grid == (side, side):
        return position
    plane = position[1:].T.unflatten(1, (side, side))[None]
    plane = F.interpolate(plane.float(), size=grid, mode='bicubic', align_corners=False)[0].to(position.dtype)
    return torch.cat([position[:1], plane.flatten(1).T])


def dense_tokens(pool: Any, features: Tensor) -> Tensor:
    """CLIP's attention pool, giving a token for each place and not only for the image.

    On the native grid the pool's full attention, every token a query; on any other grid "value pooling", the value and
    the output projection alone. The projections are called, never read as plain weights, so adapters wrapped round
    them take effect (in the authors' code they do not). Query and key are not used by value pooling, so there they get
    no gradient.

    Args:
        pool: has ``positional_embedding`` (1 + N * N, E), the layers ``q_proj``, ``k_proj``, ``v_proj`` (E to E) and
            ``c_proj`` (E to D), and ``num_heads``.
        features: (B, E, H, W), the last feature map.

    Returns:
        (B, 1 + H * W, D): the token of the mean, then the grid row by row.
    """
    height, width = features.shape[-2:]
    tokens = features.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    tokens = tokens + resize_position(pool.positional_embedding, (height, width)).to(tokens.dtype)
    values = pool.v_proj(tokens)
    if len(pool.positional_embedding) == tokens.shape[1] and height == width:
        query, key, value = (
            projected.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)  # (B, heads, 1 + P, E / heads)
            for projected in (pool.q_proj(tokens), pool.k_proj(tokens), values)
        )
        values = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    return pool.c_proj(values)


@MODELS.register_module()
class CLIPResNet(BaseModule):
    """CLIP's modified ResNet (open_clip's module) with :func:`dense_tokens`; the defaults are RN101.

    BatchNorm runs as the rest of the model does, also with LoRA: "frozen" is the affine part, while the running
    statistics follow the data. CLIP's own statistics are of other images and another normalisation, and the adapters
    change what arrives; the EMA of buffers in the recipe has a meaning only with statistics that move. ``norm_eval``
    keeps them instead.

    Args:
        layers: blocks of the four stages.
        width: channels of the stem; the last stage has 32 times as many.
        heads: of the attention pool; None takes one for 64 channels, as all of CLIP's have.
        output_dim: token width D.
        image_size: native image side; the positional embedding is of (image_size / 32)^2 places.
        weights: file read by ``init_weights()``, see :func:`~sarlp.io.clip_weights.read_clip_weights`; None starts
            from scratch.
        image_token: put the token of the mean in front of the others.
        lora: arguments of :func:`~sarlp.models.lora.add_lora`; None trains everything.
        norm_eval: keep BatchNorm in evaluation mode while training.
        frozen: train nothing of it, and keep BatchNorm in evaluation mode.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 23, 3),
        width: int = 64,
        heads: int | None = None,
        output_dim: int = 512,
        image_size: int = 224,
        weights: str | Path | None = None,
        image_token: bool = True,
        lora: dict | None = None,
        norm_eval: bool = False,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        from open_clip.modified_resnet import ModifiedResNet

        heads = max(width * 32 // 64, 1) if heads is None else heads  # which does not show in the weights
        self.visual = ModifiedResNet(list(layers), output_dim, heads, image_size, width)
        self.weights = weights
        self.image_token = image_token
        self.norm_eval = norm_eval or frozen
        if lora is not None:
            add_lora(self.visual, **lora)
        if frozen:
            self.visual.requires_grad_(False)

    def init_weights(self) -> None:
        super().init_weights()
        if self.weights is not None:
            self.visual.load_state_dict(
                self._read_weights(self.weights), strict=False
            )  # all but the adapters, checked there

    def frozen_state(self) -> dict[str, Tensor]:
        """The entries of the state dict that training never changes, from the file of weights."""
        if self.weights is None:
            raise UserError(
                'the frozen part of the image encoder has no file to come from: set model.backbone.weights=FILE'
            )
        frozen = {name for name, parameter in self.visual.named_parameters() if not parameter.requires_grad}
        return {f'visual.{name}': value for name, value in self._read_weights(self.weights).items() if name in frozen}

    def _read_weights(self, weights: str | Path) -> dict[str, Tensor]:
        """What the file has, under the names of ``self.visual``; strictly, but for counts of batches."""
        # an adapter wraps its layer, whose entries move to `<layer>.base_layer`
        own = {
            name.replace('.base_layer.', '.'): (name, value)
            for name, value in self.visual.state_dict().items()
            if '.lora_' not in name
        }
        state = read_clip_weights(weights)
        counts = {key for key in own if key.endswith('num_batches_tracked')}  # older files have none
        problems = differences(state, {key: own[key][1] for key in own if key in state or key not in counts})
        if problems:
            listed = '; '.join(f'{len(keys)} {kind}: {shorten(keys)}' for kind, keys in problems.items())
            raise UserError(
                f'{weights}: these are not the weights of this image encoder ({listed}); the config describes '
                'CLIP RN101 unless it sets layers, width, output_dim or image_size of model.backbone'
            )
        return {own[key][0]: value for key, value in state.items()}

    def train(self, mode: bool = True):
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, inputs: Tensor) -> tuple[tuple[Tensor, tuple[int, int]]]:
        """Args: images (B, 3, h, w), sides a multiple of 32. Returns ((tokens, (H, W)),), tokens (B, 1 + P, D)."""
        visual = self.visual
        features = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(inputs)))))
        tokens = dense_tokens(visual.attnpool, features)
        return ((tokens if self.image_token else tokens[:, 1:], tuple(features.shape[-2:])),)
