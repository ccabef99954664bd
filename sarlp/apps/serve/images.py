"""Uploaded images, refused by what their header says before they are decoded: a small file can be a huge image."""

import io

from PIL import Image

from sarlp.apps.serve.models import Model
from sarlp.errors import UserError, UserValueError, first_line

# what OpenCV decodes and Pillow tells the size of; no documents, which Pillow would run other programs for
_FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')


class ImageRefused(UserValueError):
    """An uploaded image can not be read, or is too large."""


def read_image(model: Model, content: bytes, name: str, max_pixels: int):
    """Make an uploaded image ready for a model.

    Args:
        model: which.
        content: the file.
        name: of it, for messages.
        max_pixels: width times height.

    Raises:
        ImageRefused: says what to do.
    """
    if not content:
        raise ImageRefused(f'{name}: the file is empty; send the image itself')
    width, height = _size(content, name, max_pixels)
    if width * height > max_pixels:
        raise ImageRefused(
            f'{name}: {width:,} x {height:,} pixels, and at most {max_pixels:,} are taken; send a smaller copy'
        )
    try:
        return model.read(content, name)
    except UserError as error:
        raise ImageRefused(str(error)) from None
    except Exception as error:  # whatever the decoder raises, by what is broken
        raise ImageRefused(
            f'{name}: the image cannot be read ({first_line(error)}); is the file whole? Save it as JPEG or PNG'
        ) from None


def _size(content: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    Image.init()
    known = [kind for kind in _FORMATS if kind in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=known) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRefused(
            f'{name}: far more pixels than the {max_pixels:,} that are taken; send a smaller copy'
        ) from None
    except Exception:  # of Pillow, by what is broken
        raise ImageRefused(
            f'{name}: is no image of these formats: {", ".join(known)}; save it as JPEG or PNG'
        ) from None
