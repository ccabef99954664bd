import mmpretrain.datasets  # noqa: F401  registers RandAugment and its operations under the scope mmpretrain

from sarlp.transforms.cutout import RandomCutout
from sarlp.transforms.loading import BadImageError, LoadImage
from sarlp.transforms.packing import PackMultiLabel

__all__ = ['BadImageError', 'LoadImage', 'PackMultiLabel', 'RandomCutout']
