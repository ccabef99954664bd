"""COCO JSON in which images say which classes were looked for, as those of LVIS and OpenImages do.

.. code-block:: json

    {"images": [{"id": 7, "file_name": "1.jpg", "neg_category_ids": [3], "not_exhaustive_category_ids": [1]}],
     "annotations": [{"image_id": 7, "category_id": 1}],
     "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "sofa"}]}

A class is positive in an image with an annotation of it, or that lists it in ``pos_category_ids``; negative where
``neg_category_ids`` lists it, or ``verified_category_ids`` does and it is not positive; unknown otherwise.
``not_exhaustive_category_ids`` is about instances, of which some may lack a box, and says nothing here. The images of
LVIS v1 have no ``file_name`` but a ``coco_url``, whose end is taken: ``train2017/000000391895.jpg``.

Where no image has such lists, the file can be told to be complete: what is not annotated is negative then, in images
with an annotation or a list ``pos_category_ids``, be it empty. An image with neither may be one that nobody looked at.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from typing import Any, NoReturn

from sarlp.apps.spreadsheets.label_files.tables import Changes, Notes, Statement
from sarlp.datasets.annotation import AnnotationError
from sarlp.datasets.converters.coco_records import (
    NEGATIVES,
    VERIFIED,
    Categories,
    RecordError,
    get_value,
    image_file,
    place,
)
from sarlp.datasets.converters.json_stream import stream_members
from sarlp.errors import shorten
from sarlp.io.json_file import read_json, show
from sarlp.labels import NEGATIVE, POSITIVE
from sarlp.names.clean_names import Spellings

POSITIVES = 'pos_category_ids'


class VerifiedCoco:
    """A COCO JSON file with verified classes. The classes are its categories, in the order of the file.

    Args:
        path: the file, UTF-8; read record by record.
        rest_is_no: that it is told to be complete.

    Raises:
        AnnotationError: it is no such file, or contradicts itself in its ids, or is told to be complete and says itself
            which classes were looked for.
    """

    form = 'coco'
    once = True  # an image is listed once

    def __init__(self, path: str | os.PathLike, rest_is_no: bool = False) -> None:
        self.path, self.rest_is_no = str(path), rest_is_no
        self.spellings = Spellings()  # of the classes
        self._images: dict[Any, tuple[str, dict[str, list]]] = {}
        self._annotated: dict[Any, dict[Any, None]] = {}
        self._categories = Categories()
        self._says_which = False
        self._said: set[Any] = set()  # ids of images with a list of positives
        readers = {'images': self._image, 'annotations': self._annotation, 'categories': self._categories.add}
        numbers = dict.fromkeys(readers, 0)
        try:
            for key, record in stream_members(path, lists=readers):
                if key in readers:
                    if not isinstance(record, dict):
                        raise RecordError(f'expected an object, found {show(record)}')
                    readers[key](record)
                    numbers[key] += 1
        except RecordError as error:
            self._fail(place(error, key, numbers[key], record))
        except ValueError as error:  # also what is no UTF-8
            self._fail(f'expected COCO JSON, but it does not parse ({error})')
        if not self._images or not self._categories.names:
            self._fail('expected COCO JSON with "images" and "categories", one of them is empty')
        if self._says_which and rest_is_no:
            self._fail(
                f'--negative does not go with the form coco where an image says which classes were looked for '
                f'("{NEGATIVES}" or "{VERIFIED}"). Leave it out'
            )
        if not self._says_which and not rest_is_no:
            self._fail(
                f'no image says which classes were looked for ("{NEGATIVES}" or "{VERIFIED}"), so no label would be '
                f'negative. Give each image a list "{NEGATIVES}" of the ids of those that were looked for and are not '
                'there; or, if all that is there is annotated, say with --negative "" that the rest is not there. '
                'MS-COCO itself is converted by sarlp convert coco'
            )
        self.classes = tuple(self._categories.names)
        for name in self.classes:
            self.spellings[name]
        self._ids = self._categories.ids
        self._check_ids()

    def _fail(self, message: str) -> NoReturn:
        raise AnnotationError(f'{self.path}: {message}.')

    def _image(self, record: dict) -> None:
        image, file = get_value(record, 'id'), image_file(record)
        if image in self._images:
            raise RecordError(f'the id is that of an image before it, {self._images[image][0]}')
        lists = {}
        for key in (POSITIVES, NEGATIVES, VERIFIED):
            lists[key] = [] if record.get(key) is None else record[key]
            if not isinstance(lists[key], list):
                raise RecordError(f'expected "{key}" to be a list of category ids, found {show(lists[key])}')
        self._says_which |= NEGATIVES in record or VERIFIED in record
        if record.get(POSITIVES) is not None:
            self._said.add(image)
        self._images[image] = file, lists

    def _annotation(self, record: dict) -> None:
        self._annotated.setdefault(get_value(record, 'image_id'), {})[get_value(record, 'category_id')] = None

    def _check_ids(self) -> None:
        """Only now, since the categories may come last."""
        for image in self._annotated.keys() - self._images.keys():
            self._fail(f'an annotation is of image {image!r}, which "images" has not{_other_kind(image, self._images)}')
        for image, (name, lists) in self._images.items():
            for category in (*self._annotated.get(image, ()), *(c for ids in lists.values() for c in ids)):
                if type(category) not in (int, str) or category not in self._ids:
                    self._fail(
                        f'image {image!r} ({name}) has the category {category!r}, which is not in '
                        f'"categories"{_other_kind(category, self._ids)}'
                    )

    def settings(self) -> dict[str, Any]:
        return {'negative': ['']} if self.rest_is_no else {}

    def notes(self) -> list[str]:
        """Lines for the reader of what was read."""
        without = [name for image, (name, _) in self._images.items() if not self._is_said(image)]
        if not self.rest_is_no or not without:
            return []
        return [
            f'images without any annotation, all labels unknown (an empty "{POSITIVES}" says that nothing is there): '
            f'{len(without):,}: {shorten(without)}'
        ]

    def _is_said(self, image: Any) -> bool:
        """Whether the file says anything of an image."""
        return image in self._annotated or image in self._said

    def _rest(self, image: Any) -> list[Any]:
        """Categories of which the file says by saying nothing that they are not there."""
        if not self.rest_is_no or not self._is_said(image):
            return []
        positive = {*self._annotated.get(image, ()), *self._images[image][1][POSITIVES]}
        return [category for category in self._ids if category not in positive]

    def place(self, image: Any) -> str:
        """Where a statement stands, for messages."""
        return f'image id {image!r}'

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """There are none."""
        yield from ()

    splits = groups

    @property
    def splits_told(self) -> bool:
        """Nobody named a column of them."""
        return False

    def habits(self) -> dict[int, str]:
        """There is one way only."""
        return {}

    def statements(self) -> Iterator[Statement]:
        """Image id, image as written, and (class id, code) of each label that is known, of each image."""
        for image, (name, lists) in self._images.items():
            positive = {**self._annotated.get(image, {}), **dict.fromkeys(lists[POSITIVES])}
            pairs = [(self._ids[category], POSITIVE) for category in positive]
            pairs += [(self._ids[category], NEGATIVE) for category in dict.fromkeys(lists[NEGATIVES])]
            pairs += [(self._ids[category], NEGATIVE) for category in lists[VERIFIED] if category not in positive]
            pairs += [(self._ids[category], NEGATIVE) for category in self._rest(image)]
            yield image, name, pairs

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some labels changed. It is held in memory as a whole.

        New positives go to ``pos_category_ids``, since a label has no box, and new negatives to ``neg_category_ids``;
        the annotations of a class that is no longer positive are left out. A file that was told to be complete gets the
        lists that say so, since one of them in any image makes it one that says which classes were looked for.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        COCO has no place for notes.
        """
        try:
            content = read_json(self.path)
        except ValueError as error:
            raise AnnotationError(f'{self.path}: it can not be read as a whole ({error}).') from None
        records: dict[str, list] = {}
        for record in content['images']:
            records.setdefault(path_of(image_file(record)), []).append(record)
            if self.rest_is_no and self._is_said(record['id']):
                record[NEGATIVES] = self._rest(record['id'])
        gone, categories = set(), list(self._ids)
        new_ids = _new_ids(self._images)
        for path, codes in changes.items():
            if path not in records:
                records[path] = [{'id': next(new_ids), 'file_name': path}]
                content['images'] += records[path]
            for record in records[path]:
                for index, code in codes.items():
                    category = categories[index]
                    for key in (POSITIVES, NEGATIVES, VERIFIED):
                        if category in (record.get(key) or ()):
                            record[key] = [other for other in record[key] if other != category]
                    if code in (POSITIVE, NEGATIVE):
                        key = POSITIVES if code == POSITIVE else NEGATIVES
                        record[key] = [*(record.get(key) or ()), category]
                    if code != POSITIVE:
                        gone.add((record['id'], category))
        if gone and 'annotations' in content:
            content['annotations'] = [
                record for record in content['annotations'] if (record['image_id'], record['category_id']) not in gone
            ]
        return json.dumps(content).encode()


def _other_kind(wanted: Any, ids: Collection[Any]) -> str:
    """That an id is a text in one place and a number in another; else nothing."""
    alike = [known for known in ids if type(known) is not type(wanted) and str(known) == str(wanted)]
    return f'; it has {alike[0]!r}, and a text is no number' if alike else ''


def _new_ids(ids: Collection[int | str]) -> Iterator[int | str]:
    """Ids that are not in use, numbers unless all that are there are texts."""
    of_text = all(isinstance(known, str) for known in ids)
    start = max((known for known in ids if isinstance(known, int)), default=0) + 1
    return (new for number in count(start) if (new := str(number) if of_text else number) not in ids)
