"""What is known beside what is in question, and what of that came to be known since the completion."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sarlp.apps.completion import Record
from sarlp.apps.completion.record import Recovered, Suspect
from sarlp.apps.completion.writing import dataset_of
from sarlp.apps.review.log_line import Pair
from sarlp.apps.spreadsheets.label_files import merge, open_labels
from sarlp.apps.spreadsheets.label_source import changed_since, label_arrays
from sarlp.datasets.nesting import leaves
from sarlp.datasets.source_record import read_source
from sarlp.errors import UserError
from sarlp.labels import CODES, UNKNOWN
from sarlp.names.class_names import columns_by_name


class Answered(NamedTuple):
    """Labels that were in question and are so no more: unknown ones that are known now, doubted ones that changed.

    Attributes:
        in_annotations: by the annotation files.
        in_source: by the file of labels that the data set was made from, which was saved since.
        notes: sentences, for people.
    """

    in_annotations: frozenset[Pair] = frozenset()
    in_source: frozenset[Pair] = frozenset()
    notes: tuple[str, ...] = ()


def labels_now(record: Record) -> dict[str, np.ndarray]:
    """(C,) int8 of 1 / 0 / -1 by image, of the annotation files as they are, in the order of the record's classes.

    Raises:
        UserError: they are not there, or of other classes.
    """
    classes, labels = label_arrays(record.annotations.values())
    advice = 'Complete the labels anew'
    columns = columns_by_name(classes, record.classes, 'the annotation file', 'the record', advice)
    return {image: codes[columns] for image, codes in labels.items()}


def beside(
    record: Record, labels: Mapping[str, np.ndarray], in_question: Mapping[str, set[str]]
) -> dict[str, np.ndarray]:
    """(C,) int8 of 1 / 0 / -1 by image, for the images in question; -1 also for the labels in question.

    The annotation files may hold more than was known to the model: what a label mask hid is in question.
    """
    place = {name: index for index, name in enumerate(record.classes)}
    known = {}
    for image, names in in_question.items():
        if image in labels:
            known[image] = labels[image].copy()
            known[image][[place[name] for name in names if name in place]] = UNKNOWN
    return known


def answered_since(
    record: Record, labels: Mapping[str, np.ndarray], questions: Sequence[Recovered | Suspect]
) -> Answered:
    """What of the labels in question has an answer by now.

    Args:
        record: of the completion.
        labels: of :func:`labels_now`.
        questions: recovered labels and suspects.
    """
    place = {name: index for index, name in enumerate(record.classes)}

    def asked() -> Iterator[tuple[str, str, int, int]]:  # of millions a list would take gigabytes
        for row in questions:
            codes, index = labels.get(row.image), place.get(row.cls)
            if codes is not None and index is not None:
                yield row.image, row.cls, _before(row), int(codes[index])

    other = [(image, name, was) for image, name, was, is_ in asked() if is_ != was]
    hidden = _hidden(record, {image for image, _, was in other if was == UNKNOWN})
    in_annotations = {
        (image, name) for image, name, was in other if was != UNKNOWN or not hidden.get(image, {}).get(name, False)
    }
    notes, in_source = [], set()
    if in_annotations:
        notes.append(
            f'{len(in_annotations):,} labels were answered in the annotation files since the completion; they are not '
            'asked any more'
        )
    if changed_since(record.data_root) is not None:
        now, path = _of_source(record)
        in_source = {
            (image, name)
            for image, name, was, is_ in asked()
            if is_ == was and now.get(image, {}).get(name, UNKNOWN) not in (was, UNKNOWN)
        }
        notes.append(
            f'{path} was saved since it was read: {len(in_source):,} labels that are answered there are not asked, and '
            'left as they were in what is written here. Complete the labels anew to go on with all of that'
        )
    return Answered(frozenset(in_annotations), frozenset(in_source), tuple(notes))


def _before(row: Recovered | Suspect) -> int:
    return CODES[row.label] if isinstance(row, Suspect) else UNKNOWN


def _hidden(record: Record, images: set[str]) -> dict[str, dict[str, bool]]:
    """Of images: whether a label mask hides a class, by name; nothing where there is no mask."""
    found: dict[str, dict[str, bool]] = {}
    if not images:
        return found
    cfg = record.load_config()
    for split, file in record.annotations.items():
        (leaf,) = leaves(cfg[f'{split}_dataloader'].dataset)
        if leaf.get('label_mask') is None:
            continue
        dataset = dataset_of(record, split, file)
        for index in range(len(dataset)):
            if dataset.image_id(index) in images:
                image, observed, *_ = dataset.get_labels(index)
                found[image] = dict(zip(dataset.classes, (observed == UNKNOWN).tolist(), strict=True))
    return found


def _of_source(record: Record) -> tuple[dict[str, dict[str, int]], str]:
    """Labels of the file that the data set was made from, as far as it can still be read; and its path."""
    source = read_source(record.data_root)
    assert source is not None  # it was compared
    names = source['names']
    try:
        file = open_labels(source['path'], **source['settings'])
        merged = merge(file, lambda name: names.get(name, name)).labels
    except (UserError, OSError):  # it is changed in other ways, too; whoever reads it next is told
        return {}, source['path']
    found = {image: dict(zip(file.classes, codes.tolist(), strict=True)) for image, codes in merged.items()}
    return found, source['path']
