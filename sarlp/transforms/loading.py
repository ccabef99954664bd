"""Image loading with an error that names the file, and of large JPEGs only as many pixels as are wanted."""

import cv2
import mmcv
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio

from sarlp.errors import UserError, UserValueError
from sarlp.io.pixels import check_bits, rescale
from sarlp.registry import TRANSFORMS

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # of the markers 0xC0 to 0xCF, those that are not a frame header
_HEIC = (b'heic', b'heix', b'hevc', b'mif1', b'msf1', b'heif')  # brands of its container


class BadImageError(UserError):
    """An image file does not decode."""


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height from the frame header of a JPEG, as stored (before any EXIF rotation); None for anything else.

    Args:
        content: the file, or its beginning.
    """
    position = 2 if content[:2] == b'\xff\xd8' else len(content)
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = (int.from_bytes(content[position + at : position + at + 2], 'big') for at in (5, 7))
            return width, height
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
    return None


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

    def _load(self, results: dict) -> dict:
        path = results['img_path']
        content = fileio.get(path, backend_args=self.backend_args)
        width, height = jpeg_size(content) or (0, 0)
        factor = 1
        if self.min_side is not None:  # libjpeg rounds the sides up
            factor = next((k for k in _REDUCED if -(-min(width, height) // k) >= self.min_side), 1)
        image = mmcv.imfrombytes(content, flag=_REDUCED.get(factor, 'color'), backend='cv2')
        if image is None:
            heic = content[4:8] == b'ftyp' and content[8:12] in _HEIC
            raise ValueError('it is a HEIC image; save it as JPEG' if heic else f'failed to load image: {path}')
        image = results['img'] = rescale(image, content, self.bits, path)
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        if factor > 1:
            turned = image.shape[:2] != (-(-height // factor), -(-width // factor))
            results['ori_shape'] = (width, height) if turned else (height, width)
        return results

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, min_side={self.min_side}, bits={self.bits})'
