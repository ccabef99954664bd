"""Completed labels, in the form the user brought and as annotation files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sarlp.apps.completion.record import Record
from sarlp.apps.spreadsheets.label_source import changed_since, read_source, write_labels_like_source
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.nesting import leaves
from sarlp.errors import UserError, shorten
from sarlp.io.outputs import check_output, loads
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.class_names import columns_by_name
from sarlp.registry import DATASETS


class Written(NamedTuple):
    """What was written.

    Attributes:
        files: of the splits by their names, and ``'source'``.
        kept: how many labels a model decided that are known meanwhile, and stay as they are.
        notes: sentences on what was changed since the model looked, for people.
    """

    files: dict[str, Path]
    kept: int
    notes: tuple[str, ...]


def write_completed(
    record: Record,
    changes: Mapping[str, Mapping[str, int]],
    out_dir: str | os.PathLike,
    notes: Mapping[str, Mapping[str, str]] | None = None,
    suggested: Mapping[str, Mapping[str, int]] | None = None,
) -> Written:
    """Write labels with changes: as annotation files, and as the file of labels that the data set was made from.

    Args:
        record: says what was completed.
        changes: 1 / 0 / -1 by image and name of the class, which a person decided; every other label stays as it is
            known.
        out_dir: where ``trainval.json`` and so on go, each under the name of the annotation file that it completes;
            and, if the data set came from a spreadsheet, JSON lines or COCO JSON, that file.
        notes: see :func:`~sarlp.apps.spreadsheets.label_source.write_labels_like_source`.
        suggested: as ``changes``, what a model decided. It holds where nothing is known now, which may be more than
            when the model looked.

    Raises:
        UserError: an image or a class is not in the data set; or see :func:`completed_files`. Nothing is written then.
    """
    written = completed_files(record.annotations, record.data_root, out_dir)
    suggested = suggested or {}
    for_source: dict[str, np.ndarray] = {}
    noted: dict[str, dict[str, str]] = {image: dict(of_image) for image, of_image in (notes or {}).items()}
    contents: dict[str, tuple[dict, list[dict]]] = {}
    kept = 0
    for split, file in record.annotations.items():
        metainfo, data_list = load_annotation(file)
        dataset = dataset_of(record, split, file)
        advice = 'Complete the labels anew'
        columns = columns_by_name(metainfo['classes'], record.classes, file, 'the record', advice)
        place = {name: index for index, name in enumerate(metainfo['classes'])}
        entries = []
        for index, entry in enumerate(data_list):
            image, observed, full, _ = dataset.get_labels(index)
            decided, proposed = changes.get(image, {}), suggested.get(image, {})
            labels = _changed(_changed(observed, proposed, place, image, known_stay=True), decided, place, image)
            kept += sum(bool(observed[place[name]] != UNKNOWN) for name in proposed)
            if decided or proposed:  # not the labels after a mask: what a person wrote stays
                whole = _changed(_changed(full, proposed, place, image, known_stay=True), decided, place, image)
                for_source[image] = whole[columns]
                for name in proposed:
                    if full[place[name]] != UNKNOWN:
                        noted.get(image, {}).pop(name, None)
            entries.append(
                {
                    'img_path': image,
                    'positive': np.flatnonzero(labels == POSITIVE).tolist(),
                    'negative': np.flatnonzero(labels == NEGATIVE).tolist(),
                    'ignore': entry['ignore'],
                }
            )
        contents[split] = metainfo, entries
    strangers = sorted((set(changes) | set(suggested)) - for_source.keys())
    if strangers:
        raise UserError(
            f'images that are in no completed split: {shorten(strangers)}. Expected those of '
            f'{", ".join(map(str, record.annotations.values()))}, which may have been made anew since the completion. '
            'Complete the labels anew'
        )
    for split, (metainfo, entries) in contents.items():
        classes = metainfo.pop('classes')
        dump_annotation(written[split], classes, entries, **{**metainfo, 'completed': True})
    if 'source' in written:
        source = written['source']
        write_labels_like_source(for_source, record.data_root, source, record.classes, None if notes is None else noted)
    found = [changed_since(record.data_root) if 'source' in written else None]
    strange = [file for file in sorted(Path(out_dir).glob('*.json')) if file not in written.values()]
    if earlier := [file for file in strange if _is_completed(file)]:
        found.append(
            f'{shorten(earlier)}: of another completion, before this one, of other splits or data, and no part of what '
            'was written now; move it, or complete all splits together'
        )
    if kept:
        found.append(
            f'{kept:,} labels that the model decided are known since: they stay as the annotation files have them. '
            'sarlp recover completes what is unknown now'
        )
    return Written(written, kept, tuple(note for note in found if note is not None))


def completed_files(
    annotations: Mapping[str, str | os.PathLike], data_root: str | os.PathLike, out_dir: str | os.PathLike
) -> dict[str, Path]:
    """The files that :func:`write_completed` writes, after a look at what they would replace.

    Args:
        annotations: annotation file by split.
        data_root: folder of the data set.
        out_dir: where the files go.

    Raises:
        UserError: one of them is read here, or is there and was not written by an earlier completion.
    """
    out_dir = Path(out_dir)
    files = {split: out_dir / Path(file).name for split, file in annotations.items()}
    for file in files.values():
        check_output(file, annotations.values(), _is_completed)
    source = read_source(data_root)
    if source is not None:
        taken = {path.name for path in files.values()}
        name = f'completed_{source["file"]}' if source['file'] in taken else source['file']
        # a spreadsheet does not tell who wrote it, but a completion, of these splits or of others, writes annotation
        # files beside it first, which say what it was called; those of other data say nothing of it
        beside = any(_is_completed(file, source['file']) for file in out_dir.glob('*.json'))
        check_output(out_dir / name, [Path(data_root) / 'labels' / source['copy']], lambda path: beside)
        files['source'] = out_dir / name
    return files


def _is_completed(file: Path, source: str | None = None) -> bool:
    """Whether a completion wrote an annotation file; with ``source``, from a file of labels of that name."""
    if not file.is_file() or not loads(load_annotation)(file):
        return False
    metainfo = load_annotation(file)[0]
    origin = metainfo.get('source')
    of_source = source is None or (isinstance(origin, Mapping) and origin.get('file') == source)
    return metainfo.get('completed') is True and of_source


def dataset_of(record: Record, split: str, file: Path):
    """The data set of an annotation file, with the label mask of the config; no image is read."""
    (leaf,) = leaves(record.load_config()[f'{split}_dataloader'].dataset)
    return DATASETS.build(
        dict(
            type='MultiLabelDataset',
            ann_file=str(Path(file).absolute()),
            data_prefix=dict(img_path=str(record.img_root)),
            label_mask=leaf.get('label_mask'),
        )
    )


def _changed(
    labels: np.ndarray, changes: Mapping[str, int], place: Mapping[str, int], image: str, known_stay: bool = False
) -> np.ndarray:
    before, labels = labels, labels.copy()
    for name, code in changes.items():
        if name not in place or code not in (POSITIVE, NEGATIVE, UNKNOWN):
            raise UserError(f'{image}: expected a class of the data set and 1, 0 or -1, found {name!r} and {code!r}')
        if not known_stay or before[place[name]] == UNKNOWN:
            labels[place[name]] = code
    return labels
