"""The digits as a person would bring them: a folder of images, and a spreadsheet in which most cells are blank."""

import csv
import os
from pathlib import Path

import numpy as np

from sarlp.datasets.annotation import labels_of, load_annotation
from sarlp.datasets.label_masks import RandomKnownLabels
from sarlp.io.files import atomic_write
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

_CELLS = {POSITIVE: 'yes', NEGATIVE: 'no', UNKNOWN: ''}
_SPLITS = ('trainval', 'test')


def write_spreadsheets(root: str | os.PathLike, known_ratio: float, seed: int = 0) -> tuple[Path, Path]:
    """Write the labels of all scenes as ``labels.csv``, most cells blank, and as ``labels_complete.csv``.

    A cell is filled as :class:`~sarlp.datasets.label_masks.RandomKnownLabels` says. Where a digit is there but small,
    faint or half covered only, nobody should be asked whether it is: that cell is blank in both files.

    Args:
        root: folder of :func:`~sarlp.datasets.digits.make_digits`, with annotation files.
        known_ratio: chance of a cell to be filled, in (0, 1].
        seed: of the choice of cells, any integer.

    Returns:
        The two files. Their column ``file`` is relative to ``JPEGImages``.
    """
    root = Path(root)
    mask = RandomKnownLabels(known_ratio, seed)
    rows: list[tuple[str, tuple[np.ndarray, np.ndarray]]] = []
    for split in _SPLITS:
        source = root / 'labels' / f'{split}.json'
        metainfo, data_list = load_annotation(source)
        mask.bind(metainfo['classes'], str(source))
        for entry in data_list:
            labels, ignore = labels_of(entry, len(metainfo['classes']))
            complete = np.where(ignore, UNKNOWN, labels)
            rows.append((Path(entry['img_path']).name, (mask(entry['img_path'], complete), complete)))
    files = root / 'labels.csv', root / 'labels_complete.csv'
    for column, file in enumerate(files):
        with atomic_write(file, newline='') as stream:
            writer = csv.writer(stream)
            writer.writerow(['file', *metainfo['classes']])
            writer.writerows([name, *(_CELLS[code] for code in cells[column].tolist())] for name, cells in rows)
    return files
