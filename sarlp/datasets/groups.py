"""Images that belong together, of one patient or one scene, and so to one side of every split and fold.

Which do is in the ``groups`` of an annotation file's ``metainfo``: the name of a group by path, of the images that are
in one with others.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sarlp.datasets.alike import alike_pairs
from sarlp.datasets.annotation import AnnotationError, load_annotation

GROUPS = 'groups'
_SIDE = 8  # of the grid whose neighbours are compared: 64 bits
_THUMBNAIL = 32  # px
# grey values by which a pixel of a thumbnail may differ in a copy: of photographs in half the size or poor quality they
# differ by 6; where the camera moved by a hundredth of the picture, or a thing of a pixel's size came into it, by 50
_SAME = 10.0
_FLAT = 2.0  # standard deviation of grey values below which there is nothing to compare


def groups_of(metainfo: Mapping[str, Any], source: str | os.PathLike) -> dict[str, str]:
    """The groups of an annotation file; of most it has none.

    Raises:
        AnnotationError: they are no names by path.
    """
    groups = metainfo.get(GROUPS, {})
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups.values()):
        raise AnnotationError(f'{source}: expected "metainfo.{GROUPS}" to be an object of names by image.')
    return groups


def groups_in(files: Iterable[str | os.PathLike]) -> dict[str, str]:
    """The groups of several annotation files together. Raises: AnnotationError, see :func:`groups_of`."""
    found: dict[str, str] = {}
    for file in files:
        found |= groups_of(load_annotation(file)[0], file)
    return found


def join_groups(images: Sequence[str], *kinds: Iterable[Sequence[str]]) -> dict[str, str]:
    """What is together for one reason or another, also by way of a third image.

    Args:
        images: N paths.
        *kinds: each of some sets of paths.

    Returns:
        By path of each image that is with another the first path of its group.
    """
    from scipy.sparse import coo_matrix  # which a prediction needs not
    from scipy.sparse.csgraph import connected_components

    place = {image: index for index, image in enumerate(images)}
    pairs = [(place[one[0]], place[other]) for kind in kinds for one in kind for other in one[1:]]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    links = coo_matrix((np.ones(len(pairs), bool), (rows, columns)), (len(images), len(images)))
    _, labels = connected_components(links, directed=False)
    members: dict[int, list[str]] = {}
    for image, label in zip(images, labels.tolist(), strict=True):
        members.setdefault(label, []).append(image)
    return {image: min(group) for group in members.values() if len(group) > 1 for image in group}


def near_duplicates(root: str | os.PathLike, images: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of images that show the same: copies of another size, quality or format, frames of one moment.

    Such a pair has nearly the same difference hash, 64 bits that say where an image gets brighter from left to right
    (by N. Krawetz, 2013), and thumbnails that correlate. Images that do not decode, or are of one colour, are in none.
    In a crowd of more than 64 images not every pair is there, see :func:`~sarlp.datasets.alike.alike_pairs`.

    Args:
        root: folder.
        images: paths in it.
    """
    hashes, thumbnails, names = [], [], []
    for name in images:
        small = _small(Path(root) / name)
        if small is not None and small.std() >= _FLAT:
            grid = cv2.resize(small, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
            hashes.append((grid[:, 1:] > grid[:, :-1]).ravel())
            thumbnails.append(small.ravel().astype(np.uint8))  # whole numbers, and of a million images a GB of them
            names.append(name)
    if not names:
        return []
    return [(names[i], names[j]) for i, j in alike_pairs(np.array(hashes), np.array(thumbnails))]


def copies(root: str | os.PathLike, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of :func:`near_duplicates` those that are one photograph, in whatever format, size and quality.

    Frames of one moment may each show something else. Their thumbnails differ in some place, but for a thing that is
    smaller than a pixel of them.
    """
    thumbnails: dict[str, np.ndarray | None] = {}
    found = []
    for pair in pairs:
        for name in pair:
            if name not in thumbnails:
                thumbnails[name] = _small(Path(root) / name, cv2.IMREAD_GRAYSCALE)
        first, second = (thumbnails[name] for name in pair)
        if first is not None and second is not None and np.abs(first - second).max() <= _SAME:
            found.append(pair)
    return found


def _small(path: Path, how: int = cv2.IMREAD_REDUCED_GRAYSCALE_2) -> np.ndarray | None:
    """(s, s) float32 of grey values; None of a file that does not decode."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(content, how) if len(content) else None
    if image is None:
        return None
    return cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
