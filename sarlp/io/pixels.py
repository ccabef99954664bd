"""Decoding of image files whose pixels may have more than 8 bits."""

import os

import cv2
import numpy as np

from sarlp.errors import UserError, UserValueError

BITS = range(8, 17)
_DARK = 16  # the most of 255 that 12 of 16 bits come to, with either rounding
_DEEP = (b'\x89PNG', b'II*\0', b'MM\0*')  # formats that may hold fewer bits than they have


def check_bits(bits: int | None) -> None:
    """Raises: UserValueError, neither None nor 8 to 16."""
    if bits is not None and (type(bits) is not int or bits not in BITS):
        raise UserValueError(f'bits must be a whole number from 8 to 16, or None, got {bits!r}')


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
        raise UserError(
            f'{path}: 16 bits a channel, but no value above {deep.max():,}, so the data have probably '
            f'{max(needed, 8)} to 12 bits, and almost nothing would be seen of them. Say how many, by bits=12 '
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
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
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
