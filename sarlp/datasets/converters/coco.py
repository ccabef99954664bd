"""MS-COCO 2014, or any folder in its layout.

.. code-block:: text

    COCO2014/
      annotations/instances_train2014.json   trains
      annotations/instances_val2014.json     tests
      train2014/<file_name>, val2014/<file_name>

A class is positive in an image if the image has any annotation of that category, crowd ones too, and negative
otherwise. Images without any annotation are dropped, as published results have it. The classes are the categories in
the order of the file; their ids, which have gaps, are not used. An image without ``file_name`` is where its
``coco_url`` says; one that says which classes were looked for (LVIS) is refused, since there the others are unknown.
"""

from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from sarlp.datasets.annotation import REST, AnnotationError
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
from sarlp.datasets.converters.layouts import Reading, compare_size, convert
from sarlp.errors import shorten
from sarlp.names.clean_names import capitals_note

SPLITS = ('train', 'val')

# to recognise the real data set, whose sizes are known; nothing else depends on the names
_NAMES = (
    'person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, '
    'parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, '
    'handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, '
    'surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, '
    'broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, '
    'mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, '
    'teddy bear, hair drier, toothbrush'
)
COCO_CLASSES = tuple(_NAMES.split(', '))
_COCO_SIZES = {'train': 82_081, 'val': 40_137}


def read(data_dir: Path) -> Reading:
    """Read ``train`` and ``val``; ``img_path`` (``train2014/COCO_train2014_000000000009.jpg``) is relative to it.

    The files of annotations are read record by record and never held.

    Args:
        data_dir: folder with annotations, train2014 and val2014.
    """
    sources = {split: data_dir / 'annotations' / f'instances_{split}2014.json' for split in SPLITS}
    for folder in [*sources.values(), *(data_dir / f'{split}2014' for split in SPLITS)]:
        if not folder.exists():
            raise AnnotationError(
                f'{folder}: missing. Unpack annotations_trainval2014.zip, train2014.zip and val2014.zip into '
                f'{data_dir}, or name the folder where they are.'
            )
    contents = {split: _Instances(sources[split], f'{split}2014') for split in SPLITS}
    _same_categories(contents['train'], contents['val'])
    classes = contents['train'].categories.names

    entries = {split: contents[split].data_list() for split in SPLITS}
    facts, remarks = {}, {}
    for split in SPLITS:
        kept, dropped = len(entries[split]), len(contents[split].images) - len(entries[split])
        facts[split] = {'dropped_without_annotation': dropped}
        remarks[split] = [f'{dropped:,} images without any annotation were dropped']
        if tuple(classes) == COCO_CLASSES:
            remarks[split] += compare_size(split, kept, 'MS-COCO 2014', _COCO_SIZES[split])
    return Reading(classes, entries, None, 'COCO2014', facts, list(capitals_note(classes)), remarks)


convert_coco2014 = partial(convert, read)


class _Instances:
    """What of an ``instances_*.json`` is needed.

    Args:
        path: the file.
        folder: of its images, relative to that of the data set.

    Attributes:
        categories: in the order of the file.
        images: paths relative to the folder of the data set, by image id.
    """

    def __init__(self, path: Path, folder: str):
        self.path, self.folder = path, folder
        self.categories = Categories()
        self.images: dict[Any, str] = {}
        # of each image with annotations: the first annotation of each category, as (number in the file, id)
        self._found: dict[Any, dict[Any, tuple[int, Any]]] = {}
        readers = {
            'categories': lambda number, record: self.categories.add(record),
            'images': self._image,
            'annotations': self._annotation,
        }
        counts = dict.fromkeys(readers, 0)
        # Nine tenths of the file are outlines of objects: as numbers they take most of the time. `bool` is the cheapest
        # thing to make of them, and can not be taken for an id.
        members = stream_members(path, parse_float=bool, lists=readers)
        try:
            for key, record in tqdm(members, f'reading {path.name}', unit=' records', disable=None, leave=False):
                if key in readers:
                    if not isinstance(record, dict):
                        self._fail(f'expected "{key}" to be a list of objects, found {str(record)[:80]!r} in it')
                    readers[key](counts[key], record)
                    counts[key] += 1
        except AnnotationError:
            raise
        except RecordError as error:
            self._fail(place(error, key, counts[key], record))
        except ValueError as error:  # also what is no UTF-8
            self._fail(f'expected JSON of COCO, but it does not parse ({error}). Unpack the archive again')
        for key, count in counts.items():
            if not count:
                self._fail(f'expected "{key}" to be a list with something in it. Is this an instances file of COCO?')
        self._check_annotations()

    def data_list(self) -> list[dict[str, Any]]:
        """Entries of an annotation file; images without annotation are left out."""
        return [
            {
                'img_path': path,
                'positive': sorted(self.categories.ids[category] for category in self._found[image]),
                'negative': REST,
            }
            for image, path in self.images.items()
            if image in self._found
        ]

    def _fail(self, message: str) -> NoReturn:
        raise AnnotationError(f'{self.path}: {message}{"" if message.endswith("?") else "."}')

    def _image(self, number: int, record: dict) -> None:
        image, path = get_value(record, 'id'), image_file(record, f'{self.folder}/')
        if image in self.images:
            self._fail(f'images[{number}]: the image id {image} is there already, with the file {self.images[image]}')
        if NEGATIVES in record or VERIFIED in record:
            self._fail(
                f'images[{number}] (id {image}) says which classes were looked for, as those of LVIS do, and the '
                'others are unknown; here they would be negative. Convert it with '
                'sarlp convert labels'
            )
        self.images[image] = path

    def _annotation(self, number: int, record: dict) -> None:
        image, category = get_value(record, 'image_id'), get_value(record, 'category_id')
        self._found.setdefault(image, {}).setdefault(category, (number, record.get('id')))

    def _check_annotations(self) -> None:
        """Only now, since the categories come last in COCO's own files."""
        for image, found in self._found.items():
            for category, (number, annotation) in found.items():
                what = None
                if image not in self.images:
                    what = f'an unknown image, {image!r}'
                elif category not in self.categories.ids:
                    what = f'an unknown category, {category!r}'
                if what is not None:
                    self._fail(
                        f'annotations[{number}] (id {annotation}) is of {what}; expected one of those listed under '
                        f'"{"images" if "image" in what else "categories"}"'
                    )


def _same_categories(train: _Instances, val: _Instances) -> None:
    first, second = list(train.categories), list(val.categories)
    if first == second:
        return
    only = [[c for c in a if c not in b] for a, b in ((first, second), (second, first))]
    difference = (
        f'only the first has {shorten(only[0]) or "none"}, only the second {shorten(only[1]) or "none"}'
        if only[0] or only[1]
        else 'they are the same in another order'
    )
    raise AnnotationError(
        f'{train.path} and {val.path} must have equal categories, but {difference}. Class ids are positions in that '
        'list; give both files the same one.'
    )
