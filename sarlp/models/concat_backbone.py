"""Several backbones as one: what each sees of a place stands side by side."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from sarlp.errors import UserValueError
from sarlp.models.normalization import Normalization, normalization_of
from sarlp.registry import MODELS


@MODELS.register_module()
class ConcatBackbone(BaseModule):
    """The last feature maps of several backbones, concatenated channel by channel.

    Which of two pretrained networks suits the images is not known beforehand; a head on the features of both need not
    choose (docs/results.md).

    Args:
        backbones: configs of the backbones, two or more. They must have one stride, and weights of one normalisation.
    """

    def __init__(self, backbones: Sequence[Mapping], init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if len(backbones) < 2:
            raise UserValueError(f'ConcatBackbone: backbones must be two or more, got {len(backbones)}')
        self.backbones = ModuleList([MODELS.build(dict(backbone)) for backbone in backbones])

    def normalization(self) -> Normalization:
        """Raises: UserError, a backbone can not say; UserValueError, they want different ones."""
        found = [normalization_of(backbone) for backbone in self.backbones]
        first, *others = [torch.tensor([*numbers.mean, *numbers.std]) for numbers in found]
        if not all(torch.allclose(first, other, rtol=1e-4) for other in others):
            raise UserValueError(
                'ConcatBackbone: the weights of its backbones want images of different mean and std '
                f'({"; ".join(map(str, found))}), and one image goes to all; set model.data_preprocessor.mean and '
                '.std, or take backbones that agree'
            )
        return found[0]

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """Args: images (B, 3, h, w), normalised. Returns the map (B, sum of the D, H, W)."""
        maps = [backbone(inputs)[-1] for backbone in self.backbones]
        sizes = [tuple(one.shape[-2:]) if isinstance(one, Tensor) and one.ndim == 4 else None for one in maps]
        if None in sizes or len(set(sizes)) > 1:
            named = ', '.join(f'{type(b).__name__} {size}' for b, size in zip(self.backbones, sizes, strict=True))
            raise UserValueError(
                f'ConcatBackbone: the backbones must give maps of one height and width, got {named} of images of '
                f'{tuple(inputs.shape[-2:])}'
            )
        return (torch.cat(maps, 1),)
