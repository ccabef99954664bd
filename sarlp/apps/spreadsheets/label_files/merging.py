"""What a file of labels says of each image, taken together."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sarlp.apps.spreadsheets.label_files.images import ImageFolder
from sarlp.apps.spreadsheets.label_files.opening import LabelFile
from sarlp.datasets.annotation import AnnotationError
from sarlp.labels import UNKNOWN

_ABSOLUTE = re.compile('/|[A-Za-z]:/|[a-z][a-z0-9+.-]*://')  # a path from the root or a drive, or an address


@dataclass
class Merged:
    """What :func:`merge` found.

    Attributes:
        labels: (C,) int8 of 1 / 0 / -1 by path, in the order of the file.
        names: path by how the file writes it, where the two differ.
        missing: how the file writes the images that are not there, with the place where each occurs first.
        repeated: rows of an image that had one already (in the long form, of a label), and agree with it.
        contradictions: for each label that is positive in one place and negative in another, a line that names both.
            Such a label is unknown in ``labels``.
        above: what stands in front of all names that are of another place, such as ``C:\\photos\\``; '' if none is.
    """

    labels: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    contradictions: list[str] = field(default_factory=list)
    above: str = ''


def merge_images(file: LabelFile, folder: ImageFolder) -> Merged:
    """:func:`merge` by the images of a folder, which a form with ``urls`` names by addresses.

    Other forms may name all by addresses below one, or by paths below one folder of another machine.

    Raises:
        AnnotationError: see there; or two addresses are one file.
    """
    if not getattr(file, 'urls', False):
        elsewhere = _Elsewhere(folder)
        merged = merge(file, elsewhere.find)
        merged.above = elsewhere.above or ''
        return merged
    addresses: dict[str, str] = {}

    def find(address: str) -> str | None:
        path = folder.find_address(address)
        if path is not None and addresses.setdefault(path, address) != address:
            raise AnnotationError(
                f'the address {address!r} ends in {path}, as {addresses[path]!r} does. Keep the folders of the '
                'addresses below that of the images.'
            )
        return path

    return merge(file, find)


class _Elsewhere:
    """Images by names of which all begin with one place that is not here: what is below it is below the folder."""

    def __init__(self, folder: ImageFolder) -> None:
        self._folder = folder
        self.above: str | None = None

    def find(self, name: str) -> str | None:
        written, error = name.strip().replace('\\', '/'), None
        try:
            path = self._folder.find(name)
        except AnnotationError as refused:
            path, error = None, refused
        if path is not None or not _ABSOLUTE.match(written):
            if error is not None:
                raise error
            return path
        path = self._folder.find_address(name)
        if path is None:
            if error is not None and (self.above is None or not written.startswith(self.above)):
                raise error
            return None
        place = re.split('[?#]', written)[0] if '://' in written else written
        above = place.rsplit('/', path.count('/') + 1)[0] + '/'
        if self.above is None:
            self.above = above
        if above != self.above:
            raise AnnotationError(
                f'{name!r} is below {above}, and an image before it below {self.above}. Paths of another place must '
                f'begin with one folder, which is taken for {self._folder.root}; write others relative to that'
            )
        return path


def names_otherwise(merged: Merged) -> list[str]:
    """Images of which the file writes more than slashes and the suffix otherwise than the folder does."""
    found = []
    for name, path in merged.names.items():
        written = '/'.join(part for part in name.strip().replace('\\', '/').split('/') if part not in ('', '.'))
        elsewhere = merged.above and name.strip().replace('\\', '/').startswith(
            merged.above
        )  # which is said of all together
        if not elsewhere and not written.endswith((path, path.rpartition('.')[0])):
            found.append(f'{ascii(name)} is {path}')
    return found


def merge(file: LabelFile, find: Callable[[str], str | None]) -> Merged:
    """Take all statements about an image together: what one row leaves open another may know.

    Args:
        file: an open file.
        find: path of an image by how the file writes it; None if there is no such image.

    Raises:
        AnnotationError: a cell is no label, ``find`` refused a name, or two names that differ in the capitals of their
            suffixes are one file; the message says where.
    """
    merged = Merged()
    paths: dict[str, str | None] = {}
    suffixes: dict[str, tuple[str, str]] = {}
    contradictions: dict[tuple[str, int], None] = {}
    for where, name, pairs in file.statements():
        if name not in paths:
            try:
                paths[name] = find(name)
            except AnnotationError as error:
                raise AnnotationError(f'{file.path}, {file.place(where)}: {error}') from None
            path = paths[name]
            if path is None:
                merged.missing[name] = file.place(where)
            elif path != name:
                merged.names[name] = path
            _one_suffix(file, where, name, path, suffixes)
        path = paths[name]
        if path is None:
            continue
        labels = merged.labels.get(path)
        if labels is None:
            labels = merged.labels[path] = np.full(len(file.classes), UNKNOWN, np.int8)
        elif file.once:
            merged.repeated += 1
        for index, code in pairs:
            if labels[index] == UNKNOWN:
                labels[index] = code
            elif labels[index] != code:
                contradictions[path, index] = None
            elif not file.once:
                merged.repeated += 1
    for path, index in contradictions:
        merged.labels[path][index] = UNKNOWN
    if contradictions:
        merged.contradictions = _places(file, paths, contradictions)
    return merged


def _one_suffix(file: LabelFile, where: Any, name: str, path: str | None, seen: dict[str, tuple[str, str]]) -> None:
    """Refuse 1.jpg and 1.JPG beside each other where only one of the files is there: the other may be lost."""
    suffix = name.strip().rpartition('.')[2]
    if path is None or suffix.lower() != path.rpartition('.')[2].lower():  # left out
        return
    other, place = seen.setdefault(path, (suffix, file.place(where)))
    if other != suffix:
        raise AnnotationError(
            f'{file.path}, {file.place(where)}: the name {name!r} has its suffix in other capitals than in {place}, '
            f'and of the two there is only {path}. If they are one image, write both in one way; if not, fetch the '
            'other.'
        )


def _places(file: LabelFile, paths: dict, contradictions: dict) -> list[str]:
    """Where each contradictory label is first stated as positive and first as negative. The file is read once more."""
    first: dict[tuple[str, int], dict[int, str]] = {key: {} for key in contradictions}
    for where, name, pairs in file.statements():
        for index, code in pairs:
            found = first.get((paths[name], index))
            if found is not None:
                found.setdefault(code, file.place(where))
    return [
        f'{path}, {file.classes[index]}: positive in {found[1]}, negative in {found[0]}'
        for (path, index), found in first.items()
    ]
