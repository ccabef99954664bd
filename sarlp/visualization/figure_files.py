"""Where the figures of images go, so that none replaces an image, or the figure of another one."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath

from matplotlib.figure import Figure

from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.image_files import ImageFile, as_text, figure_of, figure_text, fingerprint
from sarlp.io.outputs import Own


class FigureFiles:
    """One PNG an image: in the folder, under the image's name and ``.png``, such as ``cam1/a.jpg.png``.

    Names that lead out of the folder are taken below it. Where the figures of two images would then be one file, also
    on a system that does not tell capitals, the later one is numbered: ``cam1/a.2.jpg.png``. A figure carries a
    fingerprint of the path of its image, so that drawing the same images again replaces their figures, and only these.

    Args:
        folder: where the figures go.
        images: all that will be drawn; one may be named more than once.

    Raises:
        UserError: a figure would replace an image, or a file that is not an earlier figure of the same image.
    """

    def __init__(self, folder: str | os.PathLike, images: Sequence[ImageFile]):
        self.folder = Path(folder)
        self._paths: dict[str, Path] = {}
        own: dict[str, str] = {}  # real path of an image by the name of its figure, as no file system tells it apart
        for image in images:
            real = os.path.realpath(image.path)
            for relative in _candidates(image.name):
                if own.setdefault(unicodedata.normalize('NFC', str(relative)).casefold(), real) == real:
                    break
            self._paths[image.name] = self.folder / relative
        taken = self._taken(images, set(own.values()))
        if taken:
            raise UserError(
                f'{len(taken):,} files are no earlier figures of the same images, and figures would replace them: '
                f'{shorten(taken)}. Nothing was written; choose another folder than {folder}, or remove them'
            )

    def _taken(self, images: Sequence[ImageFile], inputs: set[str]) -> list[Path]:
        return [
            path
            for image in images
            if os.path.lexists(path := self._paths[image.name])
            and (os.path.realpath(path) in inputs or figure_of(path) != fingerprint(image.path))
        ]

    def save(self, figure: Figure, image: ImageFile) -> Path:
        """Write the figure of an image, all of it or nothing. Returns: the file."""
        path = self._paths[image.name]
        save_named(figure, path, fingerprint(image.path))
        return path


def is_figure(of: str) -> Own:
    """Files that :func:`save_named` wrote."""
    return lambda path: figure_of(path) == of


def save_named(figure: Figure, path: str | os.PathLike, of: str) -> None:
    """Write a PNG under a name that was checked by :func:`is_figure`, all of it or nothing; ``of``: what it shows."""
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format='png', metadata=figure_text(of))


def _candidates(name: str) -> Iterator[PurePosixPath]:
    """Paths for the figure of an image, relative to the folder, the best first."""
    pure = PurePath(as_text(name))
    parts = [part for part in pure.parts if part not in ('..', pure.anchor)]
    path = PurePosixPath(*parts)
    yield path.with_name(f'{path.name}.png')
    number = 2
    while True:
        yield path.with_name(f'{path.stem}.{number}{path.suffix}.png')
        number += 1
