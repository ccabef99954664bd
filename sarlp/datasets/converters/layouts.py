"""What all layouts of data sets share on their way to annotation files.

A layout is a module of this folder with a function ``read``: it takes the folder of the data set first, then options,
each with a default, and returns a :class:`Reading`. ``sarlp convert <module>`` is made of it: arguments from the
signature and the docstring of ``read``, the help from that of the module; checks and writing are here.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sarlp.datasets.annotation import AnnotationError, dump_annotation, validate
from sarlp.datasets.near_names import hint_below
from sarlp.datasets.statistics import summary
from sarlp.errors import shorten


@dataclass
class Reading:
    """What a layout was found to hold.

    Attributes:
        classes: C names in the order of their ids.
        entries: by split, in the order in which they are to be written; entries as
            :func:`~sarlp.datasets.annotation.load_annotation` returns them. Each split becomes a file.
        root: the folder that ``img_path`` is relative to; None for the one that was read.
        layout: its name in the files; None for that of the module.
        facts: by split, what else a reader of its file should know.
        notes: lines to print before everything.
        remarks: by split, lines to print after its counts.
    """

    classes: Sequence[str]
    entries: Mapping[str, Sequence[dict[str, Any]]]
    root: Path | None = None
    layout: str | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def convert(
    read: Callable[..., Reading],
    data_dir: str | os.PathLike,
    save_dir: str | os.PathLike | None = None,
    by_class: bool = True,
    **options: Any,
) -> dict[str, Path]:
    """Write an annotation file for each split of a data set and print what is in them.

    Everything is read and checked before anything is written.

    Args:
        read: of a layout.
        data_dir: the folder of the data set.
        save_dir: where the files go; by default ``labels`` in the folder that the images are relative to.
        by_class: print the counts of each class too, and not of all together only.
        **options: of ``read``.

    Returns:
        The files by split.

    Raises:
        AnnotationError: the folder is incomplete, or a file in it is not as it must be, or an image is in two splits.
    """
    reading = read(Path(data_dir), **options)
    root = Path(data_dir) if reading.root is None else reading.root
    folder = root / 'labels' if save_dir is None else Path(save_dir)
    layout = read.__module__.rpartition('.')[2] if reading.layout is None else reading.layout
    owner: dict[str, str] = {}
    for split, entries in reading.entries.items():
        validate(reading.classes, entries, f'{data_dir}, {split}')
        shared = [entry['img_path'] for entry in entries if owner.setdefault(entry['img_path'], split) != split]
        if shared:
            raise AnnotationError(
                f'{data_dir}: {len(shared):,} images of {split} are in {owner[shared[0]]} too: {shorten(shared)}. '
                'Testing on training images measures nothing; remove them from one of the two.'
            )
        missing = [entry['img_path'] for entry in entries if not os.path.isfile(root / entry['img_path'])]
        if missing:
            raise AnnotationError(
                f'{data_dir}: {len(missing):,} of the {len(entries):,} images of {split} are missing under {root}: '
                f'{shorten(missing)}.{hint_below(missing, root)} Unpack the images again.'
            )
    for note in reading.notes:
        print(note)
    files = {}
    for split, entries in reading.entries.items():
        files[split] = folder / f'{split}.json'
        facts = reading.facts.get(split, {})
        dump_annotation(files[split], reading.classes, entries, layout=layout, split=split, **facts)
        counts = summary({'classes': reading.classes}, entries, by_class)
        print(*([''] if by_class else []), f'{files[split]}: {counts}', *reading.remarks.get(split, ()), sep='\n')
    return files


def compare_size(what: str, found: int, name: str, published: int) -> list[str]:
    """A remark where a copy of a known data set is not as large as the published one; none where it is.

    Args:
        what: that was counted, ``'trainval'``.
        found: images in it.
        name: of the data set, ``'VOC 2007'``.
        published: images in it there.
    """
    if found == published:
        return []
    return [
        f'note: {what} has {found:,} images, the published {name} has {published:,}; results on it do not compare with '
        'published ones.'
    ]
