"""COCO JSON in which images say which classes were looked for, as those of LVIS and OpenImages do.

.. code-block:: json

    {"images": [{"id": 7, "file_name": "1.jpg", "neg_category_ids": [3], "not_exhaustive_category_ids": [1]}],
     "annotations": [{"image_id": 7, "category_id": 1}],
     "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "sofa"}]}

A class is positive in an image with an annotation of it, or that lists it in ``pos_category_ids``; negative where
``neg_category_ids`` lists it, or ``verified_category_ids`` does and it is not positive; unknown otherwise.
``not_exhaustive_category_ids`` is about instances, of which some may lack a box, and says nothing here.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sarlp.datasets.annotation import AnnotationError
from sarlp.datasets.converters.json_stream import stream_members
from sarlp.datasets.converters.label_files.tables import Changes, Statement
from sarlp.json_file import read_json
from sarlp.labels import NEGATIVE, POSITIVE

POSITIVES, NEGATIVES, VERIFIED = 'pos_category_ids', 'neg_category_ids', 'verified_category_ids'


class VerifiedCoco:
    """A COCO JSON file with verified classes. The classes are its categories, in the order of the file.

    Args:
        path: the file, UTF-8; read record by record.

    Raises:
        AnnotationError: it is no such file, or contradicts itself in its ids.
    """

    form = 'coco'
    once = True  # an image is listed once

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = str(path)
        self._images: dict[Any, tuple[str, dict[str, list]]] = {}
        annotated: dict[Any, dict[Any, None]] = {}
        names: dict[Any, str] = {}
        says_which = False
        try:
            for key, value in stream_members(path):
                if key == 'images':
                    lists = {name: value.get(name) or [] for name in (POSITIVES, NEGATIVES, VERIFIED)}
                    says_which |= any(name in value for name in (NEGATIVES, VERIFIED))
                    if self._images.setdefault(value['id'], (value['file_name'], lists))[1] is not lists:
                        raise AnnotationError(f'{path}: two images have the id {value["id"]!r}.')
                elif key == 'annotations':
                    annotated.setdefault(value['image_id'], {})[value['category_id']] = None
                elif key == 'categories':
                    if value['id'] in names:
                        raise AnnotationError(f'{path}: two categories have the id {value["id"]!r}.')
                    names[value['id']] = str(value['name']).strip()
        except AnnotationError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnnotationError(
                f'{path}: expected COCO JSON: "images" with "id" and "file_name", "annotations" with "image_id" and '
                f'"category_id", "categories" with "id" and "name" ({type(error).__name__}: {error}).'
            ) from None
        if not self._images or not names:
            raise AnnotationError(f'{path}: expected COCO JSON with "images" and "categories", one of them is empty.')
        if not says_which:
            raise AnnotationError(
                f'{path}: no image says which classes were looked for ("{NEGATIVES}" or "{VERIFIED}"), so no label '
                'would be negative. If the labels are complete, convert the file with '
                'tools/dataset_converters/mscoco.py.'
            )
        self.classes = tuple(names.values())
        self._ids = {category: index for index, category in enumerate(names)}
        self._categories = list(names)
        self._annotated = annotated
        self._check_ids()

    def _check_ids(self) -> None:
        for image in self._annotated.keys() - self._images.keys():
            raise AnnotationError(f'{self.path}: an annotation is of image {image!r}, which "images" has not.')
        for image, (name, lists) in self._images.items():
            if not isinstance(name, str) or not all(isinstance(ids, list) for ids in lists.values()):
                raise AnnotationError(f'{self.path}: image {image!r} must have a file name, and lists of categories.')
            for category in (*self._annotated.get(image, ()), *(c for ids in lists.values() for c in ids)):
                if not isinstance(category, int | str) or category not in self._ids:
                    raise AnnotationError(
                        f'{self.path}: image {image!r} ({name}) has the category {category!r}, which is not in '
                        '"categories".'
                    )

    def settings(self) -> dict[str, Any]:
        return {}

    def place(self, image: Any) -> str:
        """Where a statement stands, for messages."""
        return f'image id {image!r}'

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
            yield image, name, pairs

    def rewrite(self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str]) -> bytes:
        """The file with some labels changed. It is held in memory as a whole.

        New positives go to ``pos_category_ids``, since a label has no box, and new negatives to ``neg_category_ids``;
        the annotations of a class that is no longer positive are left out.

        Args:
            path_of: path of an image by how the file writes it.
            changes: codes by class id, by path. Images that the file has not are appended.
            habits: not used.
        """
        try:
            content = read_json(self.path)
        except ValueError as error:
            raise AnnotationError(f'{self.path}: it can not be read as a whole ({error}).') from None
        records: dict[str, list] = {}
        for record in content['images']:
            records.setdefault(path_of(record['file_name']), []).append(record)
        gone = set()
        numbers = [record['id'] for record in content['images'] if isinstance(record['id'], int)]
        number = max(numbers, default=0)
        for path, codes in changes.items():
            if path not in records:
                number += 1
                records[path] = [{'id': number, 'file_name': path}]
                content['images'] += records[path]
            for record in records[path]:
                for index, code in codes.items():
                    category = self._categories[index]
                    for key in (POSITIVES, NEGATIVES, VERIFIED):
                        if category in (record.get(key) or ()):
                            record[key] = [other for other in record[key] if other != category]
                    if code in (POSITIVE, NEGATIVE):
                        key = POSITIVES if code == POSITIVE else NEGATIVES
                        record[key] = [*(record.get(key) or ()), category]
                    if code != POSITIVE:
                        gone.add((record['id'], category))
        content['annotations'] = [
            record
            for record in content.get('annotations', [])
            if (record['image_id'], record['category_id']) not in gone
        ]
        return json.dumps(content).encode()
