"""The record of where labels came from, and labels written back in the form they came in.

``sarlp convert labels`` keeps a copy of the file of labels beside the annotation files, with
``labels/source.json``, which says how it was read. So labels that were completed or corrected can go back into the very
spreadsheet: its columns, rows, encoding, delimiter and ways to spell yes and no stay as they are.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sarlp.apps.spreadsheets.label_files import LabelFile, Merged, merge, open_labels, settings_of
from sarlp.apps.spreadsheets.label_files.named import NamedClasses
from sarlp.apps.spreadsheets.on_demand import Changed, OnDemand
from sarlp.datasets.annotation import AnnotationError, labels_of, load_annotation, put_in_order
from sarlp.datasets.source_record import RECORD, VERSION, read_source
from sarlp.io.files import atomic_write, sha256_of_file
from sarlp.io.outputs import check_output
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.class_names import columns_by_name


def write_source(
    root: str | os.PathLike,
    path: str | os.PathLike,
    sha256: str,
    img_root: str | os.PathLike,
    file: LabelFile,
    merged: Merged,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Keep a copy of a file of labels, and how it was read.

    Args:
        root: folder of the data set, with ``labels`` in it.
        path: the file of labels.
        sha256: of it when it was opened.
        img_root: folder of the images.
        file: the file as it was opened.
        merged: what was found in it.
        options: of the conversion, for the reader.

    Returns:
        ``file`` (name), ``sha256`` and ``form``, for the annotation files.

    Raises:
        AnnotationError: the file was changed since.
    """
    root, path = Path(root), Path(path)
    copy = f'source{path.suffix.lower()}' if path.suffix.lower() != '.json' else 'source_labels.json'
    # a spreadsheet does not tell who wrote it, but the record beside it does
    check_output(root / 'labels' / copy, (), lambda file: (root / RECORD).is_file() or file.samefile(path))
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise AnnotationError(changed_meanwhile(path))
    inside = Path(os.path.abspath(img_root)).is_relative_to(os.path.abspath(root))
    record = {
        'version': VERSION,
        'file': path.name,
        'copy': copy,
        'sha256': sha256,
        'path': os.path.abspath(path),
        # relative where the two can be moved together
        'img_root': os.path.relpath(img_root, root) if inside else os.path.abspath(img_root),
        'root': os.path.abspath(root),
        'settings': settings_of(file),
        'classes': list(file.classes),
        'spelling': {str(code): cell for code, cell in file.habits().items()},
        'options': dict(options),
        'names': merged.names,
    }
    with atomic_write(root / RECORD) as target:
        target.write(json.dumps(record, ensure_ascii=False, indent=1) + '\n')
    with atomic_write(root / 'labels' / copy, 'wb') as target:  # behind its record: killed between, it is still ours
        target.write(content)
    return {'file': path.name, 'sha256': sha256, 'form': file.form}


def changed_meanwhile(path: str | os.PathLike) -> str:
    """What to say where a file of labels is no longer what was read."""
    return f'{path}: it was changed while it was read. Save it, close it, and start the same command again.'


def changed_since(source: str | os.PathLike) -> str | None:
    """What to say where the file of labels that a data set was made from is another now; None where it is not.

    A file that is gone, or of which the record (of an earlier version) does not know the place, is none to compare.
    """
    record = read_source(source)
    path = None if record is None else record.get('path')
    if record is None or not isinstance(path, str) or not os.path.isfile(path):
        return None
    if sha256_of_file(path) == record['sha256']:
        return None
    return (
        f'{path} was saved since it was read: what was changed there is not in what is written here, which goes out '
        'from the copy of then'
    )


def label_arrays(ann_files: Iterable[str | os.PathLike]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The labels of annotation files of the same classes, taken together.

    Returns:
        The classes in the order of the first file, and (C,) int8 of 1 / 0 / -1 by path of the image.

    Raises:
        AnnotationError: the files have different classes, or share an image.
    """
    classes, labels = None, {}
    for file in ann_files:
        metainfo, data_list = load_annotation(file)
        classes = classes or metainfo['classes']  # of the first file
        for entry in put_in_order(metainfo['classes'], data_list, classes, file, 'the annotation file before it'):
            if entry['img_path'] in labels:
                raise AnnotationError(f'{file}: {entry["img_path"]} is in an annotation file before it.')
            labels[entry['img_path']] = labels_of(entry, len(classes))[0]
    return classes or (), labels


def write_labels_like_source(
    labels: Mapping[str, np.ndarray],
    source: str | os.PathLike,
    out: str | os.PathLike,
    classes: Sequence[str] | None = None,
    notes: Mapping[str, Mapping[str, str]] | None = None,
    called: str | os.PathLike | None = None,
) -> dict[str, int]:
    """Write labels in the form, and into a copy, of the file that the data set was made from.

    A cell whose label is as it was stays as it was written, also where rows contradict each other; any other is spelled
    as that file does mostly. Images and labels for which the file has no row get one at its end if they are known.
    What a form can not say is printed.

    Args:
        labels: (C,) of 1 / 0 / -1 by path of the image; images that are left out stay as they are.
            :func:`label_arrays` reads them from annotation files.
        source: folder of the data set.
        out: the file to write, in the encoding of the source.
        classes: C names in the order of the labels; None for that of the data set's annotation files.
        notes: by image and class, what to say of a label that changes: in Excel a comment on the cell, which is
            coloured; in CSV, OpenDocument and JSON lines a column, or key, ``filled by sarlp``; in what is no
            table nothing.
        called: the name that the file will have, for what is printed; None for ``out``.

    Returns:
        Number of labels that became ``positive``, ``negative`` and ``unknown``.

    Raises:
        AnnotationError: the data set has no record, its copy was changed, or the labels are of other classes.
    """
    record = read_source(source)
    if record is None:
        raise AnnotationError(
            f'{Path(source) / RECORD}: there is no record of a file of labels. Only what '
            'sarlp convert labels converted can be written back.'
        )
    copy = Path(source) / 'labels' / record['copy']
    try:
        unchanged = sha256_of_file(copy) == record['sha256']
    except FileNotFoundError:
        unchanged = False
    if not unchanged:
        raise AnnotationError(f'{copy}: this copy of {record["file"]} is gone or was changed. Convert the labels anew.')
    file = open_labels(copy, **record['settings'])
    names = record['names']
    advice = 'Convert the labels anew'
    of_labels = classes or _classes_of(record, Path(source))
    columns = columns_by_name(of_labels, file.classes, 'the data set', record['file'], advice, error=AnnotationError)

    def path_of(name: str) -> str:
        return names.get(name, name)

    before = merge(file, path_of).labels
    after = dict(before)
    nothing = np.full(len(file.classes), UNKNOWN, np.int8)
    changed: list[str] = []
    counts = dict.fromkeys((POSITIVE, NEGATIVE, UNKNOWN), 0)
    for path, codes in labels.items():
        codes = np.asarray(codes)
        if codes.shape != (len(file.classes),) or not np.isin(codes, (POSITIVE, NEGATIVE, UNKNOWN)).all():
            raise AnnotationError(
                f'{path}: expected {len(file.classes)} labels of 1, 0 and -1, one for each class of {record["file"]}, '
                f'found shape {codes.shape}.'
            )
        codes = after[path] = codes[columns]
        new = codes[codes != before.get(path, nothing)]
        if len(new):
            changed.append(path)
            for code in counts:
                counts[code] += int(np.count_nonzero(new == code))
    changes = OnDemand(changed, lambda path: Changed(before.get(path, nothing), after[path]))

    def remarks_on(path: str) -> dict[int, str]:
        assert notes is not None  # of an image that is in it
        said = notes[path]
        return {index: said[file.classes[index]] for index in changes[path] if file.classes[index] in said}

    habits = {int(code): cell for code, cell in record['spelling'].items()}
    remarks = OnDemand([path for path in changed if path in (notes or {})], remarks_on)
    with atomic_write(out, 'wb') as written:
        written.write(file.rewrite(path_of, changes, habits, remarks))
    if isinstance(file, NamedClasses):
        for line in file.unsaid(after):
            print(f'{out if called is None else called}: {line}')
    return {'positive': counts[POSITIVE], 'negative': counts[NEGATIVE], 'unknown': counts[UNKNOWN]}


def _classes_of(record: Mapping[str, Any], source: Path) -> Sequence[str]:
    """The classes of a data set, in the order of its annotation files.

    An earlier version may have sorted names before accents were composed, so that of the source can be another.
    """
    classes = record.get('classes')
    return load_annotation(source / 'labels' / 'trainval.json')[0]['classes'] if classes is None else classes
