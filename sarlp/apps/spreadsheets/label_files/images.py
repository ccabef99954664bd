"""Which file of a folder a cell names."""

import itertools
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from sarlp.datasets.annotation import AnnotationError
from sarlp.datasets.near_names import clean_path
from sarlp.errors import shorten
from sarlp.io.image_files import is_image, list_images, stem_of
from sarlp.names.clean_names import clean_name

_DEEPEST = 32  # folders of an address that are looked at


class ImageFolder:
    """The files below a folder.

    Links to folders are followed, but none twice.

    Args:
        root: the folder.

    Attributes:
        listing: what is in the folder. Hidden files and those of unread formats are found only by their exact names.
        images: those that are read, (sorted) paths relative to the folder, with ``/``.

    Raises:
        AnnotationError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        if not os.path.isdir(root):
            raise AnnotationError(f'{root}: there is no such folder. Expected that of the images.')
        self.root = Path(root)
        self.listing = list_images(self.root)
        self.images = self.listing.images
        self._files = {*itertools.chain(*self.listing)}
        # what a name may stand for: itself with accents (macOS) and spaces of another kind and the suffix in other
        # capitals, and without its suffix
        self._meant: dict[str, set[str]] = {}
        for name in self._files.difference(self.listing.hidden):
            self._meant.setdefault(_key(name), set()).add(name)
        for name in self.images:
            self._meant.setdefault(_key(stem_of(name)), set()).add(name)

    def find(self, cell: str) -> str | None:
        """The image that a cell names: a path relative to the folder, or an absolute one in it.

        Back-slashes are slashes, ``./`` in front is nothing, and the suffix may be left out. Where no file has the very
        name, it is one whose name is the same after cleaning (:mod:`sarlp.names.clean_names`), in whatever capitals its
        suffix is.

        Returns:
            Its path relative to the folder, with ``/``; None if there is no such file.

        Raises:
            AnnotationError: the cell is blank, leads out of the folder, or means several files. The message lacks the
                place.
        """
        name = cell.strip().replace('\\', '/')
        if not clean_name(name):
            raise AnnotationError(
                'the name of the image is blank. Write it into each row, or take out a row of sums, say.'
            )
        if name.startswith('/') or re.match('[A-Za-z]:', name):
            name = self._relative(name)
        parts = [part for part in name.split('/') if part not in ('', '.')]
        if '..' in parts or not parts:
            raise AnnotationError(
                f'{cell!r} is refused: ".." may lead out of the folder of the images. Write the plain path relative to '
                f'{self.root}.'
            )
        name = '/'.join(parts)
        if name in self._files:
            return name
        meant = sorted(self._meant.get(_key(name), ()))
        if len(meant) > 1:
            raise AnnotationError(
                f'{cell!r} stands for several files: {shorten(meant)}. '
                'Write the name as that of the file, with the suffix.'
            )
        return meant[0] if meant else None

    def has(self, cell: str) -> bool:
        """Whether a cell names an image that is there, and one only."""
        try:
            return self.find(cell) is not None
        except AnnotationError:
            return False

    def find_address(self, address: str) -> str | None:
        """The image that an address ends in: the longest end of its path that is one.

        Of Label Studio's own addresses, ``/data/local-files/?d=a/1.jpg`` names ``a/1.jpg``, and what it puts in front
        of the name of an uploaded file, ``0f3c2a1b-1.jpg``, may be left out.

        Raises:
            AnnotationError: see :meth:`find`.
        """
        if self.has(address):
            return self.find(address)
        name = address.strip().replace('\\', '/')
        if '://' in name or name.startswith('/data/'):
            try:
                parsed = urlsplit(name)
            except ValueError:
                raise AnnotationError(f'{address!r} is no address.') from None
            local = parse_qs(parsed.query).get('d') if parsed.path.rstrip('/').endswith('local-files') else None
            name = local[0] if local else unquote(parsed.path)
        name = re.sub('^[A-Za-z]:/', '', name)  # a drive
        parts = [part for part in name.split('/') if part not in ('', '.')][-_DEEPEST:]
        ends = ['/'.join(parts[start:]) for start in range(len(parts))]
        if parts and (uploaded := re.fullmatch('[0-9a-f]{8}-(.+)', parts[-1])):
            ends.append(uploaded[1])
        return next((found for end in ends if (found := self.find(end)) is not None), None)

    def _relative(self, name: str) -> str:
        for root in (self.root.absolute(), self.root.resolve()):
            prefix = root.as_posix().rstrip('/') + '/'
            if name.startswith(prefix):
                return name[len(prefix) :]
        raise AnnotationError(
            f'{name!r} is refused: it is an absolute path outside of {self.root}. Write the path relative to that '
            'folder, or give the folder that holds it as that of the images.'
        )


def _key(name: str) -> str:
    name = clean_path(name)
    stem, dot, suffix = name.rpartition('.')
    return f'{stem}{dot}{suffix.lower()}' if is_image(name) else name
