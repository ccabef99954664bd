"""Cutout with a size relative to the image and a random colour."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmpretrain.datasets.transforms.auto_augment import BaseAugTransform

from sarlp.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomCutout(BaseAugTransform):
    """Cover one square of the image, at a random place, in a random colour.

    Usable by itself (``ratio``) or as a policy of ``mmpretrain.RandAugment`` (``magnitude_range`` of the ratio).

    Args:
        ratio: side of the square as a share of the shorter side of the image, in (0, 1].
        prob: probability of doing anything.
        kwargs: as in mmpretrain's ``BaseAugTransform``.
    """

    def __init__(self, ratio: float | None = None, prob: float = 1.0, **kwargs):
        super().__init__(prob=prob, random_negative_prob=0.0, **kwargs)
        if (ratio is None) == (self.magnitude_range is None):
            raise ValueError(f'RandomCutout takes ratio or magnitude_range, got {ratio!r} and {self.magnitude_range!r}')
        self.ratio = ratio

    @cache_randomness
    def _place(self, height: int, width: int) -> tuple[int, int, tuple[int, int, int]]:
        colour = tuple(np.random.randint(0, 256, 3).tolist())
        return np.random.randint(height), np.random.randint(width), colour

    def transform(self, results: dict) -> dict:
        if self.random_disable():
            return results
        image = results['img']
        height, width = image.shape[:2]
        side = round(min(height, width) * (self.random_magnitude() if self.ratio is None else self.ratio))
        centre_y, centre_x, colour = self._place(height, width)
        top, left = centre_y - side // 2, centre_x - side // 2
        rows = slice(max(top, 0), max(top + side, 0))
        first, last = max(left, 0), min(left + side, width)
        image = image.copy()
        # whole rows of values: numpy fills a (rows, columns, 3) slice pixel by pixel, in ten times the time
        image.reshape(height, -1)[rows, 3 * first : 3 * last] = np.tile(np.array(colour, image.dtype), last - first)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio={self.ratio}, prob={self.prob}{self.extra_repr()})'
