r"""NUS-WIDE, 81 concepts.

.. code-block:: text

    NUS-WIDE/
      Concepts81.txt (or ConceptsList/Concepts81.txt)   one concept a line
      Groundtruth/AllLabels/Labels_<concept>.txt        0 or 1 a line, in the order of Imagelist.txt
      ImageList/Imagelist.txt                           one image a line, such as actor\0001_2124494179.jpg
      ImageList/TrainImagelist.txt, TestImagelist.txt   which of them train and which test
      Flickr/actor/0001_2124494179.jpg

A class is positive or negative as its label file says. Images without any label are dropped, as published results
have it. Flickr no longer has all of the images, so some are missing from most copies: they stop the conversion, or are
dropped and counted, and then results do not compare with those on another copy.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sarlp.datasets.annotation import REST, AnnotationError
from sarlp.datasets.converters.layouts import Reading, compare_size, convert
from sarlp.datasets.near_names import hint_below
from sarlp.errors import shorten
from sarlp.names.clean_names import Spellings, look_alike, match_names, show_spellings

SPLITS = ('train', 'test')
_NUM_CONCEPTS, _SIZES = 81, {'train': 161_789, 'test': 107_859}  # of the published lists


def read(data_dir: Path, allow_missing: bool = False) -> Reading:
    """Read ``train`` and ``test``; ``img_path`` (``Flickr/actor/0001_2124494179.jpg``) is relative to the folder.

    Args:
        data_dir: folder with Concepts81.txt, Groundtruth, ImageList and Flickr.
        allow_missing: drop images that have labels but no file, and say how many, instead of stopping.
    """
    root = data_dir
    if not (root / 'Flickr').is_dir():
        raise AnnotationError(f'{root / "Flickr"}: the folder of images is missing. Unpack the images there.')
    spellings = Spellings()
    concepts = _read_lines(_find_concepts(root))  # as they are in the names of files
    classes = [spellings[name] for name in concepts]
    for name in concepts:
        if '/' in name or '\\' in name or '\0' in name:
            raise AnnotationError(f'{_find_concepts(root)}: the concept {name!r} can not be the name of a file.')
    for group in look_alike(concepts):
        raise AnnotationError(
            f'{_find_concepts(root)}: the concepts {show_spellings(group)} differ only in how accents, spaces or '
            'invisible characters are stored. Remove all but one.'
        )
    lists = root / 'ImageList'
    row_of = _read_images(lists / 'Imagelist.txt')
    images = {split: list(_read_images(lists / f'{split.capitalize()}Imagelist.txt')) for split in SPLITS}
    _check_splits(lists, row_of, images)
    labels = _read_labels(root, concepts, len(row_of))

    kept, missing = {}, []
    for split in SPLITS:
        labelled = [name for name in images[split] if labels[row_of[name]].any()]
        there = [name for name in labelled if os.path.isfile(f'{root}/Flickr/{name}')]
        absent = set(labelled) - set(there)
        missing += [name for name in labelled if name in absent]
        kept[split] = (there, len(images[split]) - len(labelled), len(absent))
    near = hint_below(missing, root / 'Flickr') if missing else ''
    if missing and not allow_missing:
        raise AnnotationError(
            f'{root / "Flickr"}: {len(missing):,} of the listed images that have a label are missing: '
            f'{shorten(missing)}.{near} Fetch {"the others" if near else "them, or drop them with --allow-missing"}.'
        )

    entries = {
        split: [
            {'img_path': f'Flickr/{name}', 'positive': labels[row_of[name]].nonzero()[0].tolist(), 'negative': REST}
            for name in names
        ]
        for split, (names, _, _) in kept.items()
    }
    notes = list(spellings.notes())
    if missing:
        notes.insert(0, f'{len(missing):,} of the listed images are missing and dropped: {shorten(missing)}.{near}')
    facts, remarks = {}, {}
    for split, (_, unlabelled, dropped) in kept.items():
        facts[split] = {'dropped_without_label': unlabelled, 'dropped_missing': dropped}
        remarks[split] = [f'{unlabelled:,} images without any label were dropped, {dropped:,} because they are missing']
        if len(classes) == _NUM_CONCEPTS:
            listed = f'{split.capitalize()}Imagelist.txt'
            remarks[split] += compare_size(listed, len(images[split]), 'one', _SIZES[split])
    return Reading(classes, entries, root, 'NUS-WIDE', facts, notes, remarks)


convert_nuswide = partial(convert, read)


def _find_concepts(root: Path) -> Path:
    candidates = [root / 'Concepts81.txt', root / 'ConceptsList' / 'Concepts81.txt']
    for path in candidates:
        if path.is_file():
            return path
    raise AnnotationError(f'{root}: found neither {candidates[0]} nor {candidates[1]}. Put the list of concepts there.')


def _read_lines(path: Path) -> list[str]:
    """Lines without the spaces around them; empty ones are left out."""
    try:
        lines = [line.strip() for line in path.read_text('utf-8-sig').split('\n')]
    except FileNotFoundError:
        raise AnnotationError(
            f'{path}: missing. Unpack Groundtruth.zip and ImageList.zip of NUS-WIDE into the folder of --data-dir.'
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f'{path}: expected text in UTF-8 ({error}).') from None
    lines = [line for line in lines if line]
    if not lines:
        raise AnnotationError(f'{path}: it is empty.')
    return lines


def _read_images(path: Path) -> dict[str, int]:
    """Image names, forward slashes, with their positions in the list."""
    names = [line.replace('\\', '/') for line in _read_lines(path)]
    row_of = {name: row for row, name in enumerate(names)}
    if len(row_of) != len(names):
        repeated = [name for row, name in enumerate(names) if row_of[name] != row]
        raise AnnotationError(f'{path}: {len(repeated):,} images are listed more than once: {shorten(repeated)}.')
    return row_of


def _check_splits(lists: Path, row_of: dict[str, int], images: dict[str, list[str]]) -> None:
    for split in SPLITS:
        unknown = [name for name in images[split] if name not in row_of]
        if unknown:
            raise AnnotationError(
                f'{lists / f"{split.capitalize()}Imagelist.txt"}: {len(unknown):,} of its {len(images[split]):,} '
                f'images are not in Imagelist.txt: {shorten(unknown)}. Take the three lists from one archive.'
            )


def _read_labels(root: Path, concepts: list[str], num_images: int) -> np.ndarray:
    """(images, classes) bool; one label file is in memory at a time."""
    labels = np.zeros((num_images, len(concepts)), bool)
    folder = root / 'Groundtruth' / 'AllLabels'
    files = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    names = [f'Labels_{name}.txt' for name in concepts]
    places = match_names(names, files)  # the file system may store accents otherwise than the list
    for index, name in enumerate(tqdm(concepts, 'reading labels', disable=None, leave=False)):
        place = places[index]
        path = folder / (names[index] if place is None else files[place])
        try:
            column = path.read_bytes().split()
        except OSError as error:
            raise AnnotationError(
                f'{path}: the labels of the concept {name!r} are missing ({error.strerror}). Unpack Groundtruth.zip '
                'again, or correct the list of concepts.'
            ) from None
        if len(column) != num_images:
            raise AnnotationError(
                f'{path}: it has {len(column):,} labels, but ImageList/Imagelist.txt has {num_images:,} images; they '
                'go together by line. Take both from one archive.'
            )
        bad = [row for row, label in enumerate(column) if label not in (b'0', b'1')]
        if bad:
            raise AnnotationError(
                f'{path}, label {bad[0] + 1}: expected 0 or 1, found {column[bad[0]][:40].decode("latin-1")!r}; '
                f'{len(bad):,} labels are like that.'
            )
        labels[:, index] = [label == b'1' for label in column]
    return labels
