"""Decoding of image files: as few pixels as are wanted, and some that have more than 8 bits."""

import io
import os

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sarlp.errors import UserError, UserValueError

BITS = range(8, 17)
ANTIALIAS = 'antialias'  # a law of sarlp.transforms.Resize, which who serves without torch knows too
_DARK = 16  # the most of 255 that 12 of 16 bits come to, with either rounding
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # of the markers 0xC0 to 0xCF, those that are not a frame header
_HEIC = (b'heic', b'heix', b'hevc', b'mif1', b'msf1', b'heif')  # brands of its container
_AVIF = b'ftyp'  # of their container; in it OpenCV reads nothing else
_DEEP = (b'\x89PNG', b'II*\0', b'MM\0*')  # formats that may hold fewer bits than they have


def check_bits(bits: int | None) -> None:
    """Raises: UserValueError, neither None nor 8 to 16."""
    if bits is not None and (type(bits) is not int or bits not in BITS):
        raise UserValueError(f'bits must be a whole number from 8 to 16, or None, got {bits!r}')


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


def decode(
    content: bytes, path: str | os.PathLike, min_side: int | None = None, bits: int | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image as :class:`~sarlp.transforms.LoadImage` does, which says what the options are.

    Args:
        content: the file.
        path: of the file, for messages.

    Returns:
        (h, w, 3) uint8, BGR; and (height, width) of the file.

    Raises:
        ValueError: it does not decode.
        UserError: see :func:`rescale`.
    """
    width, height = jpeg_size(content) or (0, 0)
    factor = 1
    if min_side is not None:  # libjpeg rounds the sides up
        factor = next((k for k in _REDUCED if -(-min(width, height) // k) >= min_side), 1)
    image = _decode(np.frombuffer(content, np.uint8), _REDUCED.get(factor, cv2.IMREAD_COLOR))
    if image is None:
        heic = content[4:8] == b'ftyp' and content[8:12] in _HEIC
        raise ValueError('it is a HEIC image; save it as JPEG' if heic else f'failed to load image: {path}')
    image = rescale(image, content, bits, path)
    if factor == 1:
        return image, image.shape[:2]
    turned = image.shape[:2] != (-(-height // factor), -(-width // factor))
    return image, (width, height) if turned else (height, width)


def _decode(content: np.ndarray, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """(h, w, 3) uint8, BGR, of a file (N,) uint8; None, if it does not decode."""
    image = cv2.imdecode(content, flags)
    if image is None or content[4:8].tobytes() != _AVIF:
        return image
    try:  # OpenCV does not turn these as the camera noted
        with Image.open(io.BytesIO(content.tobytes())) as pixels:
            return np.asarray(ImageOps.exif_transpose(pixels).convert('RGB'))[..., ::-1].copy()
    except UnidentifiedImageError:  # of a Pillow that does not read them
        return image


def rescale(image: np.ndarray, content: bytes | np.ndarray, bits: int | None, path: str | os.PathLike) -> np.ndarray:
    """See to it that the values of a PNG or TIFF with 16 bits a channel use the range of 8 bits.

    OpenCV takes the upper 8 of 16 bits. Of 12-bit data in a 16-bit file this leaves at most 15 of 255.

    Args:
        image: (h, w, 3) uint8, BGR, as OpenCV decodes ``content``.
        content: the file.
        bits: how many of the 16 bits hold data, 8 to 16; None takes all 16, and refuses an image that has at most 12
            and is not black.
        path: of the file, for the message.

    Returns:
        (h, w, 3) uint8; ``image`` itself unless it has 16 bits a channel and ``bits`` is less.

    Raises:
        UserError: the data have other bits than that.
    """
    if bits == 16 or (bits is None and image[::16, ::16].max() > _DARK):  # most images end here
        return image
    if (bits is None and image.max() > _DARK) or (deep := _deep(content)) is None:
        return image
    needed = int(deep.max()).bit_length()
    if bits is None and 0 < needed <= 12:
        probable = '12' if needed == 12 else f'{max(needed, 8)} to 12'
        raise UserError(
            f'{path}: 16 bits a channel, but no value above {deep.max():,}, so the data have probably '
            f'{probable} bits, and almost nothing would be seen of them. Say how many, by bits=12 '
            'for the step that loads the image, in all pipelines (--cfg-options '
            'test_dataloader.dataset.pipeline.0.bits=12, and so for train_dataloader and val_dataloader); '
            'bits=16 if the image is meant to be so dark'
        )
    if bits is not None and needed > bits:
        raise UserError(f'{path}: it has values up to {deep.max():,}, which are more than bits={bits}; correct bits')
    return image if bits is None else (deep >> (bits - 8)).astype(np.uint8)


def _deep(content: bytes | np.ndarray) -> np.ndarray | None:
    """(h, w, 3) uint16, BGR; None of a file that has other numbers."""
    if not bytes(content[:4]).startswith(_DEEP):
        return None
    deep = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return deep if deep is not None and deep.dtype == np.uint16 else None


def show(content: np.ndarray) -> np.ndarray | None:
    """Decode an image for people: (h, w, 3) uint8, RGB, turned as its EXIF says; None if it does not decode.

    Of 16 bits a channel as many are shown as the image needs, whatever a model was told to read.

    Args:
        content: the file, uint8.
    """
    image = _decode(content) if len(content) else None
    if image is None:
        return None
    if image.max() <= _DARK and (deep := _deep(content)) is not None:
        image = (deep >> max(0, int(deep.max()).bit_length() - 8)).astype(np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """The pixels of an image; see :func:`show`.

    Raises:
        UserError: it does not decode.
    """
    image = show(np.fromfile(path, np.uint8))
    if image is None:
        raise UserError(f'{path}: is no image that can be read; was it changed meanwhile?')
    return image
