"""Image loading with an error that names the file, and of large JPEGs only as many pixels as are wanted."""

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio

from sarlp.errors import UserError, UserValueError
from sarlp.io.pixels import check_bits, decode
from sarlp.registry import TRANSFORMS


class BadImageError(UserError):
    """An image file does not decode."""


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader (BGR uint8; EXIF rotation applied, greyscale, CMYK and 16 bit converted), failing by name.

    Args:
        min_side: decode a JPEG at the smallest of 1/8, 1/4, 1/2 and 1 of its size whose shorter side still has as many
            pixels. libjpeg does so within the inverse cosine transform, which saves about half the time, and averages
            pixels that a later Resize would skip, so the image is another, slightly. ``ori_shape`` stays that of the
            file. None decodes every image in full; what is no JPEG always is.
        bits: how many of the 16 bits a channel of a PNG or TIFF hold data, 8 to 16; see
            :func:`~sarlp.io.pixels.rescale`.
        kwargs: of mmcv's ``LoadImageFromFile``; with ``min_side`` or ``bits`` only ``backend_args``.

    Raises:
        BadImageError: the file is missing or does not decode.
        UserError: a file with 16 bits a channel has other ``bits``.
    """

    def __init__(self, *, min_side: int | None = None, bits: int | None = None, **kwargs):
        super().__init__(**kwargs)
        check_bits(bits)
        if min_side is not None and (type(min_side) is not int or min_side < 1):
            raise UserValueError(f'LoadImage: min_side must be a positive whole number or None, got {min_side!r}')
        self._plain = not kwargs.keys() - {'backend_args'}
        if (min_side, bits) != (None, None) and not self._plain:
            name = 'bits' if min_side is None else 'min_side'
            raise UserValueError(f'LoadImage: {name} goes with backend_args only, got also {", ".join(kwargs)}')
        self.min_side = min_side
        self.bits = bits

    def transform(self, results: dict) -> dict:
        try:
            return self._load(results) if self._plain else super().transform(results)
        except UserError:
            raise
        except Exception as error:  # whatever the file system or the decoder raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise BadImageError(
                f'{results["img_path"]}: the image cannot be read ({reason[0]}); replace or remove the file'
            ) from error

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """(h, w, 3) uint8, BGR, of what is no file. Raises: ValueError, it does not decode; UserError, see there."""
        if not self._plain:
            raise UserValueError(
                'LoadImage with further options reads files alone; leave them out of the test pipeline'
            )
        return decode(content, name, self.min_side, self.bits)[0]

    def _load(self, results: dict) -> dict:
        path = results['img_path']
        content = fileio.get(path, backend_args=self.backend_args)
        results['img'], results['ori_shape'] = decode(content, path, self.min_side, self.bits)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, min_side={self.min_side}, bits={self.bits})'
