"""Image files in folders: which there are, which of them are read, and what is left out."""

import hashlib
import itertools
import mimetypes
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
from PIL import Image

from sarlp.errors import UserError, shorten

# by the suffix that OpenCV is asked for, the others of that format
_FORMATS = {
    '.avif': ('.avifs',),
    '.bmp': ('.dib',),
    '.gif': (),
    '.jp2': ('.j2k',),
    '.jpg': ('.jfif', '.jpe', '.jpeg'),
    '.pgm': ('.pbm', '.pnm', '.ppm'),
    '.png': ('.apng',),
    '.tif': ('.tiff',),
    '.webp': (),
}
# of cameras: they begin like a TIFF, of which OpenCV would read a small preview
_RAW = ('.arw', '.cr2', '.dng', '.nef', '.orf', '.raf', '.rw2')
# of phones, cameras, hospitals and drawing programs, which Pillow does not know by itself
_FURTHER = (*_RAW, '.cr3', '.dcm', '.heic', '.heif', '.jxl', '.svg')
_SYSTEM = {'__macosx', '@eadir', '#recycle', '$recycle.bin', 'lost+found', 'system volume information'}
_FIGURE_OF = 'sarlp-figure-of'  # text of a PNG that is a figure: which file it shows


class ImageFile(NamedTuple):
    """An image file, and how results name it."""

    name: str
    path: str


class Listing(NamedTuple):
    """The files below a folder, by what becomes of them; paths relative to it with ``/``, each list sorted.

    Attributes:
        images: are read.
        unread: images of a format that OpenCV does not read on this machine, such as HEIC.
        hidden: images with a dot in front, or in a folder with one, or in one that only an operating system or a
            network storage looks into: copies, previews and remains.
        figures: drawn by sarlp.
        others: all else.
    """

    images: list[str]
    unread: list[str]
    hidden: list[str]
    figures: list[str]
    others: list[str]

    def left_out(self) -> list[str]:
        """Sentences on images that are left out, with what to do."""
        kinds = {
            f'of a format that is not read here (save them as JPEG or PNG; read are {", ".join(suffixes())})': (
                self.unread
            ),
            'hidden, or in a hidden folder or one of the system (move them to take them)': self.hidden,
            'figures that sarlp drew': self.figures,
        }
        return [f'{len(names):,} left out, {kind}: {shorten(names)}' for kind, names in kinds.items() if names]


@cache
def suffixes() -> tuple[str, ...]:
    """Of the formats that OpenCV reads on this machine, in lower case, sorted."""
    known = (first for first in _FORMATS if cv2.haveImageWriter(f'x{first}'))
    return tuple(sorted(itertools.chain.from_iterable((first, *_FORMATS[first]) for first in known)))


@cache
def _images_elsewhere() -> frozenset[str]:
    """Suffixes of images, whoever reads them."""
    pillow = (suffix for suffix, kind in Image.registered_extensions().items() if _mime(kind).startswith('image/'))
    return frozenset({*_FURTHER, *pillow, *itertools.chain(*_FORMATS.values(), _FORMATS)})


def _mime(kind: str) -> str:
    return Image.MIME.get(kind, '')


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a name ends as those of images do, whoever reads them."""
    return _suffix(name) in _images_elsewhere()


def is_hidden(name: str) -> bool:
    """Whether a path, relative with ``/``, has a part that people do not see or that only systems use."""
    return any(part.startswith('.') or part.lower() in _SYSTEM for part in name.split('/'))


def walk_files(root: str | os.PathLike) -> Iterator[str]:
    """The files below a folder, as paths relative to it with ``/``. Links to folders are followed, but none twice."""
    seen = set()
    for folder, subfolders, files in os.walk(Path(root), followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        relative = Path(folder).relative_to(root).as_posix()
        yield from (name if relative == '.' else f'{relative}/{name}' for name in files)


def list_images(root: str | os.PathLike) -> Listing:
    """Sort out the files below a folder.

    What has a suffix of :func:`suffixes` is an image, also if it turns out to be damaged; a file without a telling
    suffix is one if its content begins like one.
    """
    listing = Listing([], [], [], [], [])
    for name in sorted(walk_files(root)):
        path = os.path.join(root, name)
        kind = _suffix(name)
        if is_hidden(name):
            (listing.hidden if kind in _images_elsewhere() else listing.others).append(name)
        elif kind in suffixes():
            drawn = kind == '.png' and _suffix(name[: -len(kind)]) and figure_of(path) is not None
            (listing.figures if drawn else listing.images).append(name)
        elif kind not in _RAW and _begins_like_an_image(path):
            listing.images.append(name)
        else:
            (listing.unread if kind in _images_elsewhere() else listing.others).append(name)
    return listing


def _begins_like_an_image(path: str) -> bool:
    kind = mimetypes.guess_type(path)[0] or 'image/'  # notes, tables and films are not opened
    return kind.startswith('image/') and os.path.isfile(path) and cv2.haveImageReader(path)


def find_images(inputs: str | os.PathLike | Iterable[str | os.PathLike]) -> list[ImageFile]:
    """Image files, and those below folders, with one warning a folder that says what was left out.

    Args:
        inputs: a folder, whose images are named by their paths relative to it, with ``/``; or a file; or several of
            both, which are named by their paths as given.

    Raises:
        UserError: a file or folder is missing, or a folder holds no image.
    """
    if isinstance(inputs, str | os.PathLike):
        return images_below(inputs) if os.path.isdir(inputs) else [image_file(inputs)]
    images = []
    for path in inputs:
        images += (
            [image._replace(name=image.path) for image in images_below(path)]
            if os.path.isdir(path)
            else [image_file(path)]
        )
    return images


def image_file(path: str | os.PathLike) -> ImageFile:
    """A file under its path as given. Raises: UserError, it is not there."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f'{path}: no such image or folder')
    return ImageFile(path, path)


def images_below(folder: str | os.PathLike) -> list[ImageFile]:
    """The images of a folder, named relative to it; see :func:`find_images`."""
    listing = list_images(folder)
    left_out = '; '.join(listing.left_out())
    if not listing.images:
        raise UserError(
            f'{folder}: no image in this folder or below it ({left_out or "read are " + ", ".join(suffixes())})'
        )
    if left_out:
        warnings.warn(f'{folder}: of the images here {left_out}', stacklevel=2)
    return [ImageFile(name, os.path.join(folder, name)) for name in listing.images]


def as_text(name: str) -> str:
    """A name of bytes that are no UTF-8 as text: its odd bytes show as ``\\xNN``."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def has_frames(path: str | os.PathLike) -> bool:
    """Whether an image file has several frames or pages, of which the first is read."""
    if _suffix(os.fspath(path)) in ('.jpg', '.jpeg'):  # phones put a second, smaller picture behind the first
        return False
    try:
        with Image.open(path) as image:
            return bool(getattr(image, 'is_animated', False))
    except Exception:  # whether it can be read at all is for others to say
        return False


def warn_of_frames(names: Sequence[str | int]) -> None:
    """One warning about images with several frames, if there are any."""
    if names:
        many = 'image has' if len(names) == 1 else 'images have'
        warnings.warn(
            f'{len(names):,} {many} several frames or pages, of which only the first was taken: '
            f'{shorten(sorted(map(str, names)))}',
            stacklevel=2,
        )


def fingerprint(path: str | os.PathLike) -> str:
    """Of the place of a file, which figures of it carry; it does not tell the path."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=8).hexdigest()


def figure_text(of: str) -> dict[str, str]:
    """Texts for a PNG that mark it as drawn by sarlp. ``of``: what it shows, such as a :func:`fingerprint`."""
    return {_FIGURE_OF: of}


def figure_of(path: str | os.PathLike) -> str | None:
    """What :func:`figure_text` was given for a PNG; None for any other file."""
    try:
        with Image.open(path) as image:
            return image.info.get(_FIGURE_OF)
    except Exception:  # no image, or a damaged one
        return None


def stem_of(name: str) -> str:
    """A path with ``/`` without its suffix."""
    return str(PurePosixPath(name).with_suffix(''))
