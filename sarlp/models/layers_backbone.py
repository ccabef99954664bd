"""Several layers of one backbone: what each sees of a place stands side by side."""

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserValueError, shorten
from sarlp.models.network import kind_of
from sarlp.models.normalization import Normalization, normalization_of
from sarlp.registry import MODELS


@MODELS.register_module()
class LayersBackbone(BaseModule):
    """The feature maps of several layers of a backbone, concatenated channel by channel.

    The last layer of a pretrained network is made for the classes that it was trained on, those before it are more
    general; a head on frozen features has more to choose from (docs/results.md). They cost no pass of their own.

    Args:
        backbone: config of the backbone.
        layers: names of its modules, as ``named_modules`` has them, each of which gives a map (B, D, H, W). Maps
            larger than the smallest are averaged to its size, of which theirs must be a multiple. An activation in
            place behind a layer counts with it. What comes behind the last has no use, and no gradient.
    """

    def __init__(self, backbone: Mapping, layers: Sequence[str], init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(dict(backbone))
        self.layers = tuple(layers)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise UserValueError(f'LayersBackbone: layers must be one or more different names, got {list(layers)!r}')
        modules = dict(self.backbone.named_modules())
        self._maps: dict[str, Any] | None = None  # of the pass that is on
        for layer in self.layers:
            if layer not in modules:
                near = difflib.get_close_matches(layer, modules, n=5) or [name for name in modules if name]
                raise UserValueError(
                    f'LayersBackbone: {type(self.backbone).__name__} has no layer {layer!r}; near it: {shorten(near)}'
                )
            modules[layer].register_forward_hook(partial(self._keep, layer))

    def _keep(self, layer: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if self._maps is not None:  # else it is computed again in the backward pass, see sarlp.models.recompute
            self._maps[layer] = output

    def normalization(self) -> Normalization:
        """Raises: UserError, the backbone can not say."""
        return normalization_of(self.backbone)

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """Args: images (B, 3, h, w), normalised. Returns the map (B, sum of the D, H, W)."""
        found: dict[str, Any] = {}
        self._maps = found
        try:
            self.backbone(inputs)
        finally:
            self._maps = None
        maps = [self._check(layer, found.get(layer), inputs) for layer in self.layers]
        height, width = (min(one.shape[axis] for one in maps) for axis in (2, 3))
        return (torch.cat([_shrink(one, height, width) for one in maps], 1),)

    def _check(self, layer: str, given: Any, images: Tensor) -> Tensor:
        if isinstance(given, Tensor) and given.ndim == 4:
            # of a map rows and columns are as far apart, but for what a border takes
            rows, columns = (images.shape[axis] / given.shape[axis] for axis in (2, 3))
            if max(rows, columns) < 2 * min(rows, columns):
                return given
        raise UserValueError(
            f'LayersBackbone: {layer} of {type(self.backbone).__name__} must give a map (B, D, H, W) in each pass, '
            f'channels first, found {"no call" if given is None else kind_of(given)}'
        )


def _shrink(one: Tensor, height: int, width: int) -> Tensor:
    if one.shape[2:] == (height, width):
        return one
    rows, columns = one.shape[2] // height, one.shape[3] // width
    if one.shape[2:] != (rows * height, columns * width):
        raise UserValueError(
            f'LayersBackbone: a map of {tuple(one.shape[2:])} places is no multiple of the smallest, '
            f'{(height, width)}; take layers whose strides are multiples of each other'
        )
    return F.avg_pool2d(one, (rows, columns))
