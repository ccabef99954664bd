"""Operations of mmcv and mmpretrain: the same random draws, the same pixels, less time.

What happens to a pixel often depends on its value alone. Then the operation is worked out for the 256 values, mostly by
the original itself, and looked up for the pixels. Images are uint8 (H, W, 3), and come out contiguous; none is changed
in place.
"""

import cv2
import mmcv
import numpy as np
from mmcv.transforms import RandomFlip as _RandomFlip
from mmpretrain.datasets.transforms import auto_augment

from sarlp.registry import TRANSFORMS

# an image of every value in every channel, in the shape of a table
_VALUES = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
_FLIP_CODES = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}


@TRANSFORMS.register_module()
class RandomFlip(_RandomFlip):
    """mmcv's flip; its image is a view with negative strides, which costs whoever copies it next twenty times more."""

    def _flip(self, results: dict) -> None:
        image = results['img']
        super()._flip(results)
        results['img'] = cv2.flip(image, _FLIP_CODES[results['flip_direction']])


class _ByTable(auto_augment.BaseAugTransform):
    """An operation on values: done to a picture of all of them."""

    def transform(self, results: dict) -> dict:
        table = super().transform({'img': _VALUES})['img']
        if table is not _VALUES:
            results['img'] = cv2.LUT(results['img'], np.ascontiguousarray(table[..., 0]))
        return results


@TRANSFORMS.register_module()
class Brightness(_ByTable, auto_augment.Brightness):
    """mmpretrain's."""


@TRANSFORMS.register_module()
class Posterize(_ByTable, auto_augment.Posterize):
    """mmpretrain's."""


@TRANSFORMS.register_module()
class Solarize(_ByTable, auto_augment.Solarize):
    """mmpretrain's."""


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """``mmcv.auto_contrast``: it takes of the image only the extremes of each channel."""
    channels = cv2.split(image)
    extremes = [channel.min() for channel in channels], [channel.max() for channel in channels]
    tables = cv2.split(mmcv.auto_contrast(_VALUES.clip(*extremes)))
    return cv2.merge([cv2.LUT(channel, table) for channel, table in zip(channels, tables, strict=True)])


def equalize(image: np.ndarray) -> np.ndarray:
    """``mmcv.imequalize``."""
    return cv2.merge([cv2.LUT(channel, _equalizing(channel)) for channel in cv2.split(image)])


def _equalizing(channel: np.ndarray) -> np.ndarray:
    count = np.bincount(channel.ravel(), minlength=256)
    step = (count.sum() - count[count > 0][-1]) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    below = np.cumsum(count) - count
    return np.minimum((below + step // 2) // step, 255).astype(np.uint8)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """``mmcv.adjust_contrast``: factor * image + (1 - factor) * its mean grey, rounded to a whole number."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean = np.full(_VALUES.shape, round(grey.sum() / grey.size), np.float32)
    # the same function of OpenCV as there, since it does not round as numpy does
    table = cv2.addWeighted(_VALUES.astype(np.float32), factor, mean, 1 - factor, 0)
    return cv2.LUT(image, np.ascontiguousarray(table.clip(0, 255).astype(np.uint8)[..., 0]))


def colour(image: np.ndarray, factor: float) -> np.ndarray:
    """``mmcv.adjust_color``: factor * image + (1 - factor) * its grey."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


class _Unparametrised(auto_augment.BaseAugTransform):
    def transform(self, results: dict) -> dict:
        if not self.random_disable():
            results['img'] = self.function(results['img'])
        return results


class _ByFactor(auto_augment.BaseAugTransform):
    def transform(self, results: dict) -> dict:
        if not self.random_disable():
            magnitude = self.random_magnitude() if self.magnitude is None else self.magnitude
            results['img'] = self.function(results['img'], 1 + self.random_negative(magnitude))
        return results


@TRANSFORMS.register_module()
class AutoContrast(_Unparametrised, auto_augment.AutoContrast):
    """mmpretrain's."""

    function = staticmethod(auto_contrast)


@TRANSFORMS.register_module()
class Invert(_Unparametrised, auto_augment.Invert):
    """mmpretrain's."""

    function = staticmethod(cv2.bitwise_not)


@TRANSFORMS.register_module()
class Equalize(_Unparametrised, auto_augment.Equalize):
    """mmpretrain's."""

    function = staticmethod(equalize)


@TRANSFORMS.register_module()
class Contrast(_ByFactor, auto_augment.Contrast):
    """mmpretrain's."""

    function = staticmethod(contrast)


@TRANSFORMS.register_module()
class ColorTransform(_ByFactor, auto_augment.ColorTransform):
    """mmpretrain's."""

    function = staticmethod(colour)
