"""The JSON export of Label Studio, of projects in which people choose what is in an image.

.. code-block:: json

    [{"id": 1, "data": {"image": "/data/upload/1/0f3c2a1b-7.jpg"}, "annotations": [{"was_cancelled": false, "result": [
        {"from_name": "what", "to_name": "image", "type": "choices", "value": {"choices": ["cat", "dog"]}}]}]}]

What is chosen is there. Tasks that were skipped, or not annotated, say nothing; predictions are those of a model and do
not count. Labels go back as predictions, which Label Studio shows to who goes on labelling. The exports JSON-MIN, CSV
and TSV have no place for them, and are refused.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sarlp.apps.spreadsheets.label_files.named import Codes, NamedClasses, named_list
from sarlp.apps.spreadsheets.label_files.tables import Changes, Notes, Statement
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.io.image_files import is_image
from sarlp.io.json_file import read_json, show

_CHOICES = 'choices'
_MODEL = 'sarlp'
_MINIMAL = {'annotation_id', 'annotator', 'created_at', 'lead_time', 'updated_at'}  # keys of JSON-MIN, columns of CSV


class LabelStudio(NamedClasses):
    """Tasks with choices. The classes are those that were chosen, in alphabetical order.

    Args:
        path: the file, UTF-8.
        rest_is_no: see :class:`~.named.NamedClasses`.
        image: key of the images in ``data``; None to find it.
        control: ``from_name`` of the choices to read; None for all.

    Raises:
        AnnotationError: it is no such file.
    """

    form = 'labelstudio'
    urls = True  # images have addresses, see merge_images

    def __init__(
        self, path: str | os.PathLike, rest_is_no: bool, image: str | None = None, control: str | None = None
    ) -> None:
        super().__init__(path, rest_is_no)
        try:
            tasks = read_json(path)
        except ValueError as error:
            raise AnnotationError(f'{path}: it is no JSON ({error}). Export it anew.') from None
        if isinstance(tasks, list) and tasks and isinstance(tasks[0], dict):
            refuse_minimal(path, tasks[0])
        if not is_label_studio(tasks):
            raise AnnotationError(
                f'{path}: expected JSON objects, one a line, or COCO JSON, or the JSON export of Label Studio, a list '
                'of tasks with "data" and "annotations"; found a list of something else.'
            )
        self._tasks: list[dict] = tasks
        self._control = control
        self._controls: dict[str, dict[str, str]] = {}  # of a class
        self._left_out: Counter[str] = Counter()
        for number, task in enumerate(tasks):
            if not isinstance(task, dict) or not isinstance(task.get('data'), dict):
                self._fail(number, f'expected a task with "data", found {show(task)}')
        self._image = self._find_image() if image is None else image
        self._chosen = [self._read(number, task) for number, task in enumerate(tasks)]
        if control is not None and control not in {found['from_name'] for found in self._controls.values()}:
            raise AnnotationError(f'{path}: nothing was chosen in {control!r}, which --class-column names.')
        self._take_classes(sorted(self._controls))

    def _fail(self, number: int, message: str) -> NoReturn:
        raise AnnotationError(f'{self.path}, {self.place(number)}: {message}.')

    def _find_image(self) -> str:
        """The key of the images."""
        first = self._tasks[0]['data']
        keys = [key for key in first if all(isinstance(task['data'].get(key), str) for task in self._tasks)]
        if 'image' in keys:
            return 'image'
        images = [key for key in keys if is_image(first[key])]
        if len(images) != 1:
            raise AnnotationError(
                f'{self.path}: which key of "data" has the images? There are {shorten(list(map(repr, first)))}. Name '
                'it with --image-column.'
            )
        return images[0]

    def _read(self, number: int, task: dict) -> list[list[str]]:
        """Names that were chosen, of each annotation that counts."""
        if not isinstance(task['data'].get(self._image), str):
            self._fail(number, f'expected "data" to have a text {self._image!r}, found {show(task["data"])}')
        annotations = task.get('annotations') or []
        if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
            self._fail(number, f'expected "annotations" to be a list of objects, found {show(annotations)}')
        found = []
        for annotation in annotations:
            results = annotation.get('result')
            if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
                self._fail(number, f'expected "result" to be a list of objects, found {show(results)}')
            if annotation.get('was_cancelled'):
                self._left_out['annotations that were skipped'] += 1
            else:
                found.append([name for result in results for name in self._choices(number, result)])
        return found

    def _choices(self, number: int, result: dict) -> list[str]:
        """Names that one result chooses."""
        value = result.get('value')
        control: dict[str, Any] = {key: result.get(key) for key in ('from_name', 'to_name')}
        if result.get('type') != _CHOICES or self._control not in (None, control['from_name']):
            self._left_out[f'results of {show(result.get("from_name"))}'] += 1
            return []
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in control.values()):
            self._fail(number, f'expected a choice with "from_name", "to_name" and "value", found {show(result)}')
        if value.keys() != {_CHOICES}:
            self._fail(number, f'expected choices of the whole image, found some of a part of it: {show(value)}')
        names = named_list(self.path, self.place(number), value[_CHOICES])
        for name in names:
            if self._controls.setdefault(self.spellings[name], control) != control:
                self._fail(
                    number,
                    f'{name!r} is a choice of {control["from_name"]!r} and of '
                    f'{self._controls[self.spellings[name]]["from_name"]!r}. Name one with --class-column',
                )
        return names

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), 'image_column': self._image, 'class_column': self._control}

    def notes(self) -> list[str]:
        left_out = [f'{what}, left out: {count:,}' for what, count in self._left_out.items()]
        return super().notes() + left_out

    def unsaid(self, labels: Mapping[str, np.ndarray]) -> list[str]:
        return [
            *super().unsaid(labels),
            'note: what is new stands in it as predictions; in Label Studio a person accepts them, and then they count',
        ]

    def place(self, number: Any) -> str:
        """Where a statement stands, for messages."""
        task = self._tasks[number]
        known = task.get('id') if isinstance(task, dict) else None
        return f'element {number + 1}' if known is None else f'task {show(known)}'

    def statements(self) -> Iterator[Statement]:
        """Number, address of the image and (class id, code) of each label that is known, of each annotation."""
        for number, (task, chosen) in enumerate(zip(self._tasks, self._chosen, strict=True)):
            for names in chosen:
                yield number, task['data'][self._image], self._pairs(names)
            if not chosen:
                yield number, task['data'][self._image], []

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The tasks with a prediction more where labels changed; of several of one image, each.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        There is no place for notes.
        """
        if not changes:
            return Path(self.path).read_bytes()
        tasks, seen = [], set()
        for task, chosen in zip(self._tasks, self._chosen, strict=True):
            path = path_of(task['data'][self._image])
            seen.add(path)
            if path in changes:
                before = dict.fromkeys(name for names in chosen for name in names)
                made = [*(task.get('predictions') or ()), self._prediction([*before], changes[path])]
                task = {**task, 'predictions': made}
            tasks.append(task)
        for path in changes:
            if path not in seen:
                tasks.append({'data': {self._image: path}, 'predictions': [self._prediction([], changes[path])]})
        return json.dumps(tasks, indent=1).encode()

    def _prediction(self, before: Sequence[str], codes: Codes) -> dict[str, Any]:
        chosen: dict[str, dict[str, Any]] = {}
        for name in self._changed(before, codes):
            control = self._controls[self.spellings[name]]
            one = {'id': f'{_MODEL}{len(chosen)}', **control, 'type': _CHOICES, 'value': {_CHOICES: []}}
            chosen.setdefault(control['from_name'], one)['value'][_CHOICES].append(name)
        return {'model_version': _MODEL, 'result': [*chosen.values()]}


def is_label_studio(content: Any) -> bool:
    """Whether JSON is such an export, by its first element."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and 'data' in first and bool(first.keys() & {'annotations', 'predictions'})


def refuse_minimal(path: str | os.PathLike, keys: Iterable[str]) -> None:
    """Refuse what Label Studio exports without the tasks, by its keys or columns.

    Raises:
        AnnotationError: it is that.
    """
    if _MINIMAL.issubset(keys):
        raise AnnotationError(
            f'{path}: this is the export JSON-MIN, CSV or TSV of Label Studio, which does not say what was skipped, '
            'and labels can not go back in it. Export the project as JSON.'
        )
