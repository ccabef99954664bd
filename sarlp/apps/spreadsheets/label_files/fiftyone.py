"""``labels.json`` of FiftyOne's ``FiftyOneImageClassificationDataset``.

.. code-block:: json

    {"classes": ["cat", "dog"], "labels": {"7": [0, 1], "8": [{"label": 1, "confidence": 0.9}], "9": null}}

Images are named without their suffix or with it; FiftyOne itself finds those in its folder only without, and others by
absolute paths. A target is a name, the number of a class, or an object with one of the two as ``label``; an image has a
list of them, one, or null if nobody labelled it. FiftyOne writes null also for an empty list.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sarlp.apps.spreadsheets.label_files.named import NamedClasses, are_names
from sarlp.apps.spreadsheets.label_files.tables import Changes, Notes, Statement
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.io.image_files import stem_of
from sarlp.io.json_file import read_json, show
from sarlp.names.clean_names import clean_name

_LABEL = 'label'


class FiftyOneLabels(NamedClasses):
    """Images with targets. The classes are those listed; else the targets, in alphabetical order.

    Args:
        path: the file, UTF-8.
        rest_is_no: see :class:`~.named.NamedClasses`.

    Raises:
        AnnotationError: it is no such file.
    """

    form = 'fiftyone'

    def __init__(self, path: str | os.PathLike, rest_is_no: bool) -> None:
        super().__init__(path, rest_is_no)
        try:
            content = read_json(path)
        except ValueError as error:
            raise AnnotationError(f'{path}: it is no JSON ({error}). Export it anew.') from None
        labels = content.get('labels') if isinstance(content, dict) else None
        listed = content.get('classes') or [] if isinstance(content, dict) else []
        if not isinstance(labels, dict):
            raise AnnotationError(
                f'{path}: expected labels.json of FiftyOneImageClassificationDataset, with a list "classes" and '
                f'"labels" by image, found {show(content)}.'
            )
        if not are_names(listed):
            raise AnnotationError(f'{path}: expected "classes" to be a list of names, found {show(listed)}.')
        self._content, self._labels, self._listed = content, labels, listed
        self._targets = {image: self._named(image, found) for image, found in labels.items()}
        self._take_classes(
            listed or sorted({name for names in self._targets.values() for name in map(clean_name, names)})
        )
        if listed and len(listed) != len(self.classes):
            twice = [name for name in listed if sum(clean_name(other) == clean_name(name) for other in listed) > 1]
            raise AnnotationError(f'{path}: "classes" has a name more than once: {shorten(twice)}.')
        self._by_number = any(isinstance(self._bare(one), int) for found in labels.values() for one in _list(found))

    @staticmethod
    def _bare(target: Any) -> Any:
        return target.get(_LABEL) if isinstance(target, dict) else target

    def _name(self, image: str, target: Any) -> str:
        bare = self._bare(target)
        if isinstance(target, dict) and 'bounding_box' in target:
            raise AnnotationError(
                f'{self.path}, {self.place(image)}: it has boxes. Export a field of classifications, or convert the '
                'COCO export by sarlp convert coco.'
            )
        if type(bare) is int and 0 <= bare < len(self._listed):
            return self._listed[bare]
        names = {*map(clean_name, self._listed)}
        if not isinstance(bare, str) or not clean_name(bare) or (names and clean_name(bare) not in names):
            raise AnnotationError(
                f'{self.path}, {self.place(image)}: expected a class by name, or by its number in "classes", found '
                f'{show(target)}.'
            )
        return bare

    def _named(self, image: str, found: Any) -> list[str]:
        return [self._name(image, target) for target in _list(found)]

    def place(self, image: Any) -> str:
        """Where a statement stands, for messages."""
        return f'the entry {image!r}'

    def statements(self) -> Iterator[Statement]:
        """Image as written, twice, and (class id, code) of each label that is known, of each image."""
        for image, names in self._targets.items():
            yield image, image, [] if self._labels[image] is None else self._pairs(names)

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with other targets where labels changed; every image has a list of them then, or null.

        A field of FiftyOne has one type of label: lists, or single targets.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        There is no place for notes.
        """
        if not changes:
            return Path(self.path).read_bytes()
        labels = {image: None if found is None else _list(found) for image, found in self._labels.items()}
        seen: dict[str, str] = {}  # image as written, by path
        for image, names in self._targets.items():
            path = path_of(image)
            seen[path] = image
            if path in changes:
                codes, targets = changes[path], _list(self._labels[image])
                stay = [
                    target
                    for target, name in zip(targets, names, strict=True)
                    if self._ids[self.spellings[name]] not in codes
                ]
                labels[image] = stay + list(map(self._target, self._changed([], codes)))
        # the folder of absolute paths, so that FiftyOne finds the new images as it does the others
        folder = next((image.removesuffix(path) for path, image in seen.items() if image.endswith(f'/{path}')), None)
        stems = Counter(stem_of(path) for path in {*seen, *changes})
        for path in changes:
            if path not in seen:
                bare = stem_of(path) if stems[stem_of(path)] == 1 else path
                image = bare if folder is None else folder + path
                labels[image] = list(map(self._target, self._changed([], changes[path])))
        return json.dumps({**self._content, 'labels': labels}, indent=1).encode()

    def _target(self, name: str) -> str | int:
        return self._ids[self.spellings[name]] if self._by_number else name


def _list(found: Any) -> list:
    """The targets of an image."""
    return found if isinstance(found, list) else [] if found is None else [found]
