"""Loading and resizing in one step, so that the result can be kept."""

import os

from mmcv.transforms import BaseTransform

from sarlp.registry import TRANSFORMS
from sarlp.transforms.image_cache import ImageCache
from sarlp.transforms.loading import LoadImage
from sarlp.transforms.resize import Resize


@TRANSFORMS.register_module()
class LoadResizedImage(BaseTransform):
    """:class:`LoadImage`, then :class:`Resize`: the same fields and, to the bit, the same pixels.

    Args:
        scale: (width, height).
        min_side, bits: of :class:`LoadImage`.
        interpolation: of ``Resize``.
        cache_dir: folder that keeps the resized images (see :class:`~sarlp.transforms.image_cache.ImageCache`), which
            takes 3 * width * height bytes an image; None keeps none. Data sets, splits and runs may share it.
    """

    def __init__(
        self,
        scale: tuple[int, int],
        min_side: int | None = None,
        interpolation: str = 'bilinear',
        cache_dir: str | os.PathLike | None = None,
        bits: int | None = None,
    ):
        self.load = LoadImage(min_side=min_side, bits=bits)
        self.resize = Resize(scale=tuple(scale), interpolation=interpolation)
        settings = (min_side, interpolation) if bits is None else (min_side, interpolation, bits)
        self.cache = None if cache_dir is None else ImageCache(cache_dir, scale, settings)

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if self.cache is None:
            return self.resize(self.load(results))
        try:
            source = os.stat(path)
        except OSError:  # no file of this machine: the loader reads it or says what is wrong
            return self.resize(self.load(results))
        cached = self.cache.read(path, source)
        if cached is None:
            results = self.resize(self.load(results))
            kept = {key: results[key] for key in ('ori_shape', 'scale_factor')}
            self.cache.write(path, source, image=results['img'], **kept)
            return results
        results.update(
            img=cached['image'],
            img_shape=cached['image'].shape[:2],
            ori_shape=tuple(cached['ori_shape'].tolist()),
            scale=self.resize.scale,
            scale_factor=tuple(cached['scale_factor'].tolist()),
            keep_ratio=False,
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load}, {self.resize}, cache={self.cache and str(self.cache.folder)!r})'
