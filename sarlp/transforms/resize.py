"""Resizing that averages the pixels which it leaves out."""

import functools

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.image.geometric import cv2_interp_codes
from mmcv.transforms import Resize as _Resize

from sarlp.errors import UserValueError
from sarlp.io.pixels import ANTIALIAS
from sarlp.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Resize(_Resize):
    """mmcv's, with one more ``interpolation``: ``'antialias'``.

    OpenCV's bilinear law looks at four pixels however many there are, so that a photograph of 4,000 px that is shrunk
    to 224 px becomes noise of single pixels. ``'antialias'`` is the bilinear law of Pillow and torchvision, with which
    pretrained weights were made: a mean over a triangle as wide as the shrinking asks for; where nothing shrinks, both
    are one. Values agree with Pillow's to a grey level.

    Args:
        interpolation: ``'antialias'`` or what mmcv takes; without it mmcv's default.
        **kwargs: of mmcv's ``Resize``.
    """

    @functools.wraps(_Resize.__init__)  # type: ignore[misc]  # whose defaults are looked up
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        known = (ANTIALIAS, *cv2_interp_codes)
        if self.interpolation not in known:
            raise UserValueError(f'interpolation must be one of {", ".join(known)}, got {self.interpolation!r}')

    def _resize_img(self, results: dict) -> None:
        image = results.get('img')
        if image is None or self.interpolation != ANTIALIAS:
            super()._resize_img(results)
            return
        height, width = image.shape[:2]
        size = tuple(results['scale'])
        if self.keep_ratio:
            size = mmcv.rescale_size((width, height), size)
        results['img'] = image = shrink(image, size)
        results['img_shape'] = image.shape[:2]
        results['scale_factor'] = size[0] / width, size[1] / height
        results['keep_ratio'] = self.keep_ratio


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Args: (H, W, 3) uint8 or float32; (width, height). Returns (height, width, 3) of the same dtype, contiguous."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, size[::-1], mode='bilinear', antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
