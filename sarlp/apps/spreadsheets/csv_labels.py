"""A folder of images and a file of labels, of which some are known, to annotation files.

The file is in one of these forms; which, and its encoding and delimiter, are found by themselves. Tables may be CSV, or
a sheet of an Excel (.xlsx) or OpenDocument (.ods) workbook:

.. code-block:: text

    wide    file,cat,dog,sofa      long    image,class,value
            1.jpg,1,,0                     1.jpg,cat,yes
            2.jpg,,yes,?                   1.jpg,sofa,no

    tags    photo;tags             or: image,class
            1.jpg;cat, dog             1.jpg,cat

    lists   {"image": "1.jpg", "positive": ["cat"], "negative": ["sofa"]}      a line for each image
    coco    COCO JSON whose images have "neg_category_ids" or "verified_category_ids"

Tables may also be JSON lines, with keys for columns. What is blank, or not there, is unknown. The forms of tools and
data sets are modules of :mod:`sarlp.apps.spreadsheets.label_files`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sarlp.apps.spreadsheets.label_copies import ContradictingCopy, contradicting_copies, say_contradicting
from sarlp.apps.spreadsheets.label_files import ImageFolder, LabelFile, Merged, merge_images, open_labels
from sarlp.apps.spreadsheets.label_files.merging import names_otherwise
from sarlp.apps.spreadsheets.label_groups import find_groups
from sarlp.apps.spreadsheets.label_remarks import remarks_on
from sarlp.apps.spreadsheets.label_source import changed_meanwhile, write_source
from sarlp.apps.spreadsheets.label_splits import SPLITS, TEST, TRAINVAL, find_splits
from sarlp.datasets.annotation import REST, AnnotationError, dump_annotation, validate
from sarlp.datasets.groups import GROUPS
from sarlp.datasets.near_names import hint
from sarlp.datasets.statistics import count_labels, summary
from sarlp.errors import shorten
from sarlp.io.files import sha256_of_file
from sarlp.io.image_files import has_frames
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN, holdout_number

_SEEDS = 1000  # that are tried; of two images that are drawn apart a third of them do
CONFLICTS = ('refuse', 'unknown')


@dataclass(frozen=True)
class ReadLabels:
    """A file of labels and a folder of images that fit each other.

    Attributes:
        csv, img_root: as given.
        file: what was opened.
        merged: what it says.
        folder: the images.
        labels: (C,) int8 of 1 / 0 / -1 by path of the image, of those that are listed.
        unlisted: images of the folder in no row.
        include_unlabelled: whether those are in ``labels``.
        near: which file a missing image may be, or nothing.
        groups: of the images that belong with others, by path (:mod:`sarlp.datasets.groups`).
        splits: of the images, by path, where the file says it (:func:`~.label_splits.find_splits`).
        described: what to say of groups and splits.
        remarks: what to know before anything else (:mod:`~.label_remarks`), for a report too.
        contradicting: labels of copies that contradict each other, where what shows the same is together.
        sha256: of the file of labels.
        options: with which it was read, by name of the argument, for the record.
    """

    csv: str | os.PathLike
    img_root: str | os.PathLike
    file: LabelFile
    merged: Merged
    folder: ImageFolder
    labels: dict[str, np.ndarray]
    unlisted: list[str]
    include_unlabelled: bool
    near: str
    groups: dict[str, str]
    splits: dict[str, str]
    described: list[str]
    remarks: list[str]
    contradicting: list[ContradictingCopy]
    sha256: str
    options: dict[str, Any]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Of an annotation file."""
        return [_entry(name, codes) for name, codes in self.labels.items()]

    def describe(self) -> str:
        """What was read, and what was left out of it, in many lines."""
        lines = [*_what_was_read(self), *(f'images of the folder: {said}' for said in self.folder.listing.left_out())]
        frames = [name for name in self.labels if has_frames(self.folder.root / name)]
        if frames:
            lines.append(
                f'images with several frames or pages, of which the first is taken: {len(frames):,}: {shorten(frames)}'
            )
        return '\n'.join(lines + self.described)


def read_csv_labels(
    csv: str | os.PathLike,
    img_root: str | os.PathLike,
    on_conflict: str = 'refuse',
    allow_missing: bool = False,
    include_unlabelled: bool = False,
    near_duplicates: str = 'apart',
    **form: Any,
) -> ReadLabels:
    """Read and check all of a file of labels; nothing is written. For the arguments see :func:`convert_csv_labels`.

    Raises:
        AnnotationError: the file or the folder is not as it must be.
    """
    options = dict(
        on_conflict=on_conflict,
        allow_missing=allow_missing,
        include_unlabelled=include_unlabelled,
        near_duplicates=near_duplicates,
    )
    if on_conflict not in CONFLICTS:
        raise AnnotationError(f'on_conflict must be one of {", ".join(CONFLICTS)}, found {on_conflict!r}.')
    folder = ImageFolder(img_root)
    sha256 = sha256_of_file(csv) if os.path.isfile(csv) else ''
    file = open_labels(csv, is_image=folder.has, **form)
    merged = merge_images(file, folder)
    near = hint(list(merged.missing), folder.images) if merged.missing else ''
    _check(csv, img_root, merged, near, on_conflict, allow_missing)
    unread = sorted(merged.labels.keys() & {*folder.listing.unread})
    if unread:
        raise AnnotationError(
            f'{csv}: {len(unread):,} images are of a format that is not read here: {shorten(unread)}. Save them as '
            'JPEG or PNG, and name those in the file, or take their rows out.'
        )
    unlisted = [name for name in folder.images if name not in merged.labels]
    labels = dict(merged.labels)
    if include_unlabelled:
        labels |= {name: np.full(len(file.classes), UNKNOWN, np.int8) for name in unlisted}
    groups, pairs, said = find_groups(file, merged, folder.root, list(labels), near_duplicates)
    splits, of_splits = find_splits(file, merged, groups)
    said += of_splits
    contradicting = contradicting_copies(folder.root, labels, file.classes, pairs)
    remarks = remarks_on(file, labels, form.get('ignore_columns') or (), form.get('class_columns') is not None)
    remarks += say_contradicting(contradicting)
    read = ReadLabels(
        *(csv, img_root, file, merged, folder, labels, unlisted, include_unlabelled, near, groups, splits, said),
        *(remarks, contradicting, sha256, options),
    )
    validate(file.classes, read.entries, csv)
    if sha256_of_file(csv) != sha256:
        raise AnnotationError(changed_meanwhile(csv))
    return read


def convert_csv_labels(
    csv: str | os.PathLike,
    img_root: str | os.PathLike,
    save_dir: str | os.PathLike,
    val_fraction: float | None = None,
    seed: int = 0,
    on_conflict: str = 'refuse',
    allow_missing: bool = False,
    include_unlabelled: bool = False,
    near_duplicates: str = 'apart',
    **form: Any,
) -> dict[str, Path]:
    """Write ``labels/trainval.json`` and ``labels/test.json``, and print what was read.

    Beside them goes a copy of the file of labels with a record of how it was read
    (:mod:`sarlp.apps.spreadsheets.label_source`). Everything is read and checked before anything is written.

    Args:
        csv: the file of labels.
        img_root: folder of the images, to which the file's paths are relative.
        save_dir: folder of the data set, the ``data_root`` of a config. ``img_root`` may be in it, and need not be.
        val_fraction: chance of an image to go to ``test.json``, in (0, 1). It is drawn from (seed, path) alone, so an
            image stays in its split when others are added; a larger fraction tests on the same images and more. None
            for the split that the file has, and for that of :func:`write_annotations` if it has none.
        seed: of the split, any integer.
        on_conflict: labels that are positive in one row and negative in another are an error (``'refuse'``) or
            ``'unknown'``.
        allow_missing: leave out rows of images that are not in the folder; else they are an error.
        include_unlabelled: list the images of the folder that no row names, all labels unknown.
        near_duplicates: whether images that show the same are kept on one side of the split and of every fold
            (``'together'``), or drawn one by one (``'apart'``). So are images of one value in ``group_column``, always.
        **form: of :func:`~sarlp.apps.spreadsheets.label_files.open_labels`, to tell what it would find by itself.

    Returns:
        The files by split, ``'trainval'`` and ``'test'``.

    Raises:
        AnnotationError: the file or the folder is not as it must be.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        advice = 'a column "split" of train and test chooses them one by one'
        raise AnnotationError(f'expected the fraction to test on in (0, 1), found {val_fraction}; {advice}.')
    read = read_csv_labels(csv, img_root, on_conflict, allow_missing, include_unlabelled, near_duplicates, **form)
    if val_fraction is not None and read.splits:
        raise AnnotationError(
            f'{csv}: it says which images are to test on. Leave --val-fraction out; or draw a split, by '
            '--ignore-columns with the column of the split.'
        )
    drawn = {} if val_fraction is None else {'val_fraction': val_fraction}
    files, entries = write_annotations(read, save_dir, **drawn, seed=seed)
    classes = read.file.classes
    print(read.describe())
    print(f'\nboth splits: {summary({"classes": classes}, read.entries)}\n')
    print('\n'.join(_splits(classes, files, entries)))
    return files


def write_annotations(
    read: ReadLabels, save_dir: str | os.PathLike, val_fraction: float = 0.2, seed: int | None = 0
) -> tuple[dict[str, Path], dict[str, list[dict]]]:
    """Write the data set of what was read; see :func:`convert_csv_labels`.

    Args:
        read: of :func:`read_csv_labels`.
        save_dir, val_fraction, seed: see there; the last two are for what has no split. A seed of None is the first
            that leaves neither split empty, for who takes both together.

    Returns:
        The files by split, and what is in them.

    Raises:
        AnnotationError: a split would be empty, or the file of labels was changed since it was read.
    """
    if seed is None:
        together = {read.groups.get(path, path) for path in read.labels}
        drawings = ({split_of(group, val_fraction, number) for group in together} for number in range(_SEEDS))
        seed = next((number for number, found in enumerate(drawings) if len(found) == len(SPLITS)), 0)
    entries: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for entry in read.entries:
        path = entry['img_path']
        if read.splits:  # on an image without a row, or with a blank in it, nothing is to be measured
            split = read.splits.get(path, TRAINVAL)
        else:
            split = split_of(read.groups.get(path, path), val_fraction, seed)
        entries[split].append(entry)
    for split, other in (SPLITS, SPLITS[::-1]):
        if not entries[split]:
            raise AnnotationError(
                f'{read.csv}: all of the {len(read.labels):,} images fall into {other}.json, none into {split}.json. '
                'Choose another --val-fraction or --seed, or label more images.'
            )
    save_dir = Path(save_dir)
    drawn = {} if read.splits else dict(val_fraction=val_fraction, seed=seed)
    options = {**drawn, **read.options}
    source = write_source(save_dir, read.csv, read.sha256, read.img_root, read.file, read.merged, options)
    files = {split: save_dir / 'labels' / f'{split}.json' for split in SPLITS}
    for split in SPLITS:
        inside = {entry['img_path'] for entry in entries[split]}
        groups = {path: name for path, name in read.groups.items() if path in inside}
        more = dict(layout='labels', split=split, source=source, **({GROUPS: groups} if groups else {}))
        dump_annotation(files[split], read.file.classes, entries[split], **more)
    return files, entries


def split_of(path: str, val_fraction: float, seed: int = 0) -> str:
    """The split of an image, ``'trainval'`` or ``'test'``, from its path, or its group, alone."""
    return TEST if holdout_number(seed, path, 'test split') < val_fraction else TRAINVAL


def _entry(path: str, codes: np.ndarray) -> dict[str, Any]:
    complete = not (codes == UNKNOWN).any()
    return {
        'img_path': path,
        'positive': np.flatnonzero(codes == POSITIVE).tolist(),
        'negative': REST if complete else np.flatnonzero(codes == NEGATIVE).tolist(),
    }


def _check(csv: Any, img_root: Any, merged: Merged, near: str, on_conflict: str, allow_missing: bool) -> None:
    if merged.missing and not allow_missing:
        found = [f'{name!r} ({place})' for name, place in merged.missing.items()]
        above = f'{Path(img_root).resolve().name}/'
        if all(name.strip().replace('\\', '/').startswith(above) for name in merged.missing):
            advice = f'Their paths start with {above}, so the folder of the images should be the one above it.'
        elif near:  # to leave out rows of images that are there is no advice
            advice = f'{near} Fetch the others, or correct the folder of the images.'
        else:
            advice = 'Fetch them, correct the folder of the images, or leave their rows out with --allow-missing.'
        raise AnnotationError(f'{csv}: {len(found):,} images are not in {img_root}: {shorten(found)}. {advice}')
    if not merged.labels:
        raise AnnotationError(
            f'{csv}: none of its images is in {img_root}. {near or "Correct the folder of the images."}'
        )
    if merged.contradictions and on_conflict == 'refuse':
        raise AnnotationError(
            f'{csv}: {len(merged.contradictions):,} labels contradict each other: {shorten(merged.contradictions)}. '
            'Correct the file, or make these labels unknown with --on-conflict unknown.'
        )


def _what_was_read(read: ReadLabels) -> list[str]:
    file, merged, settings = read.file, read.merged, read.file.settings()
    head = [f'{read.csv}: {file.form} form', *['JSON lines'] * bool(settings.get('json_lines'))]
    for key in ('sheet', 'encoding', 'delimiter', 'image_column', 'class_column', 'value_column', 'separator'):
        if settings.get(key) is not None:
            head.append(f'{key.replace("_", " ")} {settings[key]!r}')
    lines = [', '.join(head), *read.remarks]
    if settings.get('encoding') in ('cp1252', 'latin-1'):
        lines.append(f'note: it is not in UTF-8 and was read as {settings["encoding"]}; see that accents are right')
    lines += getattr(getattr(file, 'sheet', None), 'notes', list)()
    if merged.repeated:
        what = 'rows of an image that has one already' if file.once else 'rows of a label that has one already'
        lines.append(f'{what}, merged: {merged.repeated:,}')
    if merged.above:
        lines.append(f'note: paths of another place: {merged.above} is taken for {read.img_root}')
    unlisted = 'all labels unknown' if read.include_unlabelled else 'left out (--include-unlabelled lists them)'
    noted = {
        'note: images named with accents or spaces of another kind, or the suffix in other capitals, and found': (
            names_otherwise(merged)
        ),
        'labels that contradict each other, made unknown': merged.contradictions,
        'images that are not in the folder, left out': list(map(repr, merged.missing)),
        f'images of the folder in no row, {unlisted}': read.unlisted,
    }
    lines += [f'{what}: {len(items):,}: {shorten(items)}' for what, items in noted.items() if items]
    if read.near:
        lines.append(f'note: images that were left out may be there. {read.near}')
    return lines + getattr(file, 'notes', list)() + file.spellings.notes()


def _splits(classes: Sequence[str], files: dict[str, Path], entries: dict[str, list]) -> list[str]:
    counts = {split: count_labels(classes, entries[split]) for split in SPLITS}
    lines = [
        f'{files[split]}: {len(entries[split]):,} images, {counts[split].known:.1%} of the labels known'
        for split in SPLITS
    ]
    noted = {
        f'classes that cannot be learnt, no {kind} label is known in trainval': counts['trainval'].without(kind)
        for kind in ('positive', 'negative')
    }
    noted['classes without a known positive in test, which have no average precision'] = counts['test'].without(
        'positive'
    )
    lines += [f'note: {what}: {len(names):,}: {shorten(names)}' for what, names in noted.items() if names]
    if not counts['trainval'].negative.any():
        lines.append('note: no label is negative. If a blank means no, convert again with --negative ""')
    return lines
