"""Tags of images in XML, as of "CVAT for images 1.1".

.. code-block:: xml

    <annotations><version>1.1</version>
      <meta><task><labels><label><name>cat</name><type>tag</type></label></labels></task></meta>
      <image id="0" name="1.jpg" width="640" height="480"><tag label="cat" source="manual"></tag></image>
    </annotations>

A class with a tag is there. An image without any says nothing, since CVAT lists those too that nobody looked at. An
export of a project says in which ``subset`` an image is.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from sarlp.apps.spreadsheets.label_files.columns import SPLIT_WORDS
from sarlp.apps.spreadsheets.label_files.named import NamedClasses
from sarlp.apps.spreadsheets.label_files.tables import Changes, Notes, Statement
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.io.xml_file import parse_xml
from sarlp.names.clean_names import clean_name

_LARGEST = 1 << 28  # bytes
_KINDS = (None, 'any', 'tag')  # of labels that an image can have


class CVATImages(NamedClasses):
    """Images with tags. The classes are the labels of the task that can be tags; else the tags, in alphabetical order.

    Args:
        path: the file.
        rest_is_no: see :class:`~.named.NamedClasses`.

    Raises:
        AnnotationError: it is no such file.
    """

    form = 'cvat'

    def __init__(self, path: str | os.PathLike, rest_is_no: bool) -> None:
        super().__init__(path, rest_is_no)
        with open(path, 'rb') as file:
            self._content = file.read(_LARGEST + 1)
        if len(self._content) > _LARGEST:
            raise AnnotationError(f'{path}: it has more than {_LARGEST:,} bytes. Export fewer images at a time.')
        self._strangers: list[str] = []  # images that were to be written, and are not in the file
        root = self._parse()
        self._images = [(image.get('name'), self._tags(image)) for image in root.iterfind('image')]
        if root.tag != 'annotations' or not self._images:
            video = ', those of a video' if root.find('track') is not None else ''
            raise AnnotationError(
                f'{path}: expected <annotations> with <image> in it, found <{root.tag}>{video}. Export the task as '
                '"CVAT for images 1.1".'
            )
        subsets = [(image.get('subset') or '').strip() for image in root.iterfind('image')]
        self._subsets = subsets if all(subset.lower() in SPLIT_WORDS for subset in subsets) else []
        nameless = [number for number, (name, _) in enumerate(self._images, 1) if not clean_name(name or '')]
        if nameless:
            raise AnnotationError(f'{path}: {self.place(nameless[0] - 1)} has no name.')
        shapes = Counter(item.tag for image in root.iterfind('image') for item in image if isinstance(item.tag, str))
        self._shapes = {kind: count for kind, count in shapes.items() if kind != 'tag'}
        used = sorted({tag for _, tags in self._images for tag in tags})
        labels = [
            (label.findtext('name') or '', label.findtext('type')) for label in root.iterfind('meta/*/labels/label')
        ]
        listed = [name for name, kind in labels if kind in _KINDS and clean_name(name)]
        strangers = [tag for tag in used if self.spellings[tag] not in {self.spellings[name] for name in listed}]
        if listed and strangers:
            raise AnnotationError(f'{path}: tags that the labels of the task have not: {shorten(strangers)}.')
        self._take_classes(listed or used)

    def _parse(self) -> ElementTree.Element:
        try:
            return parse_xml(self._content)
        except ValueError as error:
            raise AnnotationError(f'{self.path}: {error}') from None

    def _tags(self, image: ElementTree.Element) -> list[str]:
        tags = [tag.get('label') or '' for tag in image.iterfind('tag')]
        if not all(map(clean_name, tags)):
            raise AnnotationError(f'{self.path}: the image {image.get("name")!r} has a tag without a label.')
        return tags

    def place(self, number: Any) -> str:
        """Where a statement stands, for messages."""
        return f'<image> number {number + 1}'

    def splits(self) -> Iterator[tuple[int, str, str]]:
        """Number, image as written and subset of each image, where all are names of splits."""
        for number, ((name, _), subset) in enumerate(zip(self._images, self._subsets, strict=False)):
            yield number, name or '', subset

    def notes(self) -> list[str]:
        lines = super().notes()
        without = [name for name, tags in self._images if not tags]
        if without and self.rest_is_no:
            lines.append(f'images without any tag, all labels unknown: {len(without):,}: {shorten(without)}')
        if self._shapes:
            kinds = [f'{kind} {count:,}' for kind, count in self._shapes.items()]
            lines.append(f'shapes, which are no tags, left out: {shorten(kinds)}')
        return lines

    def unsaid(self, labels: Mapping[str, np.ndarray]) -> list[str]:
        lines = super().unsaid(labels)
        if self._strangers:
            lines.append(
                f'note: images that the task in {self.path} has not, left out: {len(self._strangers):,}: '
                f'{shorten(self._strangers)}'
            )
        return lines

    def statements(self) -> Iterator[Statement]:
        """Number, image as written, and (class id, code) of each label that is known, of each image."""
        for number, (name, tags) in enumerate(self._images):
            yield number, name or '', self._pairs(tags) if tags else []

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some tags more or fewer. CVAT takes no tags of images that are not in the task.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        A tag has no place for notes.
        """
        self._strangers = sorted(changes.keys() - {path_of(name or '') for name, _ in self._images})
        if not changes:
            return self._content
        root = self._parse()
        for image in root.iterfind('image'):
            codes = changes.get(path_of(image.get('name') or ''), {})
            tags = image.findall('tag')
            before = self._tags(image)
            after = self._changed(before, codes)
            for tag, name in zip(tags, before, strict=True):
                if name not in after:
                    image.remove(tag)
            for name in after:
                if name not in before:
                    tag = ElementTree.Element('tag', label=name, source='auto')
                    tag.text = tag.tail = '\n    '
                    image.insert(0, tag)
        return ElementTree.tostring(root, 'utf-8', xml_declaration=True) + b'\n'
