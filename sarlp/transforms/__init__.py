import mmpretrain.datasets  # noqa: F401  registers RandAugment and its operations under the scope mmpretrain

from sarlp.transforms.cutout import RandomCutout
from sarlp.transforms.fast import (
    AutoContrast,
    Brightness,
    ColorTransform,
    Contrast,
    Equalize,
    Invert,
    Posterize,
    RandomFlip,
    Solarize,
)
from sarlp.transforms.load_resized import LoadResizedImage
from sarlp.transforms.loading import BadImageError, LoadImage
from sarlp.transforms.packing import PackMultiLabel
from sarlp.transforms.resize import Resize
from sarlp.transforms.views import Views

__all__ = [
    'AutoContrast',
    'BadImageError',
    'Brightness',
    'ColorTransform',
    'Contrast',
    'Equalize',
    'Invert',
    'LoadImage',
    'LoadResizedImage',
    'PackMultiLabel',
    'Posterize',
    'RandomCutout',
    'RandomFlip',
    'Resize',
    'Solarize',
    'Views',
]
