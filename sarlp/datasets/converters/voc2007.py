"""PASCAL VOC 2007, or any folder in its layout.

.. code-block:: text

    VOC2007/
      ImageSets/Main/trainval.txt   one image id a line; trains
      ImageSets/Main/test.txt       tests
      Annotations/<id>.xml          <object><name>dog</name><difficult>0</difficult>...</object>
      JPEGImages/<id>.jpg           .png and whatever else is read are found as well

A class is positive in an image if at least one of its objects there is not difficult, negative if it has none. What a
class with only difficult objects is depends on ``difficult``; published results differ in this choice, so it is
recorded in the files. The classes are all names that occur in either split, in alphabetical order.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from sarlp.datasets.annotation import CONTROL, REST, AnnotationError
from sarlp.datasets.converters.layouts import Reading, compare_size, convert
from sarlp.datasets.near_names import hint
from sarlp.errors import shorten
from sarlp.io.image_files import is_hidden, suffixes
from sarlp.io.xml_file import parse_xml
from sarlp.names.clean_names import Spellings, clean_name

SPLITS = ('trainval', 'test')
_LARGEST_XML = 1 << 24  # bytes; one of VOC has about a thousand

# to recognise the real data set, whose sizes are known; nothing else depends on the names
VOC_CLASSES = (
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
)
VOC_SIZES = {'trainval': 5011, 'test': 4952}


def locate_voc2007(data_dir: Path) -> Path:
    """Find the folder with ``ImageSets``, ``Annotations`` and ``JPEGImages``: ``data_dir``, or VOC2007 under it.

    Raises:
        AnnotationError: no such folder; the message lists where it was looked for.
    """
    candidates = [data_dir, data_dir / 'VOC2007', data_dir / 'VOCdevkit' / 'VOC2007']
    for root in candidates:
        if (root / 'ImageSets' / 'Main').is_dir():
            for folder in ('Annotations', 'JPEGImages'):
                if not (root / folder).is_dir():
                    raise AnnotationError(f'{root}: the folder {folder} is missing. Unpack the whole archive there.')
            return root
    raise AnnotationError(
        f'{data_dir}: expected a folder in the layout of VOC 2007, but found ImageSets/Main in none of '
        f'{shorten(candidates)}. Unpack VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar there, or name the '
        'folder that holds ImageSets.'
    )


def read(data_dir: Path, difficult: Literal['ignore', 'negative', 'positive'] = 'ignore') -> Reading:
    """Read the lists ``trainval`` and ``test``; ``img_path`` (``JPEGImages/000001.jpg``) is relative to VOC2007.

    Args:
        data_dir: folder with ImageSets, Annotations and JPEGImages, or one with VOC2007 or VOCdevkit/VOC2007 in it.
        difficult: what a class with only difficult objects in an image is; ignore: negative in training, left out of
            metrics.
    """
    if difficult not in get_args(read.__annotations__['difficult']):
        policies = ', '.join(get_args(read.__annotations__['difficult']))
        raise AnnotationError(f'difficult must be one of {policies}, found {difficult!r}.')
    root = locate_voc2007(data_dir)
    lists = {split: root / 'ImageSets' / 'Main' / f'{split}.txt' for split in SPLITS}
    ids = {split: _read_ids(lists[split]) for split in SPLITS}
    images = _find_images(root, [image_id for split in SPLITS for image_id in ids[split]])
    spellings = Spellings()
    objects = {split: _read_objects(root, ids[split], split, spellings) for split in SPLITS}

    classes = sorted({name for split in SPLITS for found in objects[split] for name in found})
    id_of = {name: index for index, name in enumerate(classes)}
    entries = {
        split: [
            {'img_path': f'JPEGImages/{images[image_id]}', **_label(found, id_of, difficult)}
            for image_id, found in zip(ids[split], objects[split], strict=True)
        ]
        for split in SPLITS
    }
    remarks = {}
    if tuple(classes) == VOC_CLASSES:
        remarks = {split: compare_size(split, len(ids[split]), 'VOC 2007', VOC_SIZES[split]) for split in SPLITS}
    facts = dict.fromkeys(SPLITS, {'difficult': difficult})
    return Reading(classes, entries, root, 'VOC2007', lists, facts, list(spellings.notes()), remarks)


convert_voc2007 = partial(convert, read)


def _label(found: dict[str, bool], id_of: dict[str, int], policy: str) -> dict:
    """Labels of one image from {class name: whether all its objects are difficult}."""
    sure = sorted(id_of[name] for name, only_difficult in found.items() if not only_difficult or policy == 'positive')
    skip = sorted(id_of[name] for name, only_difficult in found.items() if only_difficult and policy == 'ignore')
    return {'positive': sure, 'negative': REST, 'ignore': skip}


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text('utf-8-sig').rstrip('\x1a').split('\n')  # by which DOS ends a file
    except FileNotFoundError:
        raise AnnotationError(
            f'{path}: there is no such list. VOC 2007 comes as two archives, trainval and test, both unpacked into the '
            'same folder; for your own data write one image id a line.'
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f'{path}: expected text in UTF-8 ({error}).') from None
    ids: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        image_id = clean_name(line)
        if not image_id:
            continue
        if len(image_id.split()) > 1 or '/' in image_id or '\\' in image_id or image_id in ('.', '..'):
            raise AnnotationError(
                f'{path}, line {number}: expected one image id, such as 000001, found {line!r}. Lists of one class '
                '(dog_trainval.txt), which have a second column, are not used; ids have no folder and no spaces.'
            )
        if image_id in seen:
            raise AnnotationError(
                f'{path}, line {number}: the image {image_id} is listed already, in line {seen[image_id]}. '
                'Remove one of the two.'
            )
        seen[image_id] = number
        ids.append(image_id)
    if not ids:
        raise AnnotationError(f'{path}: the split is empty. Expected one image id a line.')
    return ids


def _find_images(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """File names by image id, from one listing of the folder rather than one look-up an image."""
    names: dict[str, list[str]] = {}
    for item in os.scandir(root / 'JPEGImages'):
        stem, suffix = os.path.splitext(item.name)
        if suffix.lower() in suffixes() and not is_hidden(item.name):
            names.setdefault(clean_name(stem), []).append(item.name)
    missing = [image_id for image_id in ids if image_id not in names]
    if missing:
        if missing[0].lower().endswith(suffixes()):
            advice = 'The lists hold bare ids: remove the suffix.'
        else:
            advice = hint(missing, [name for found in names.values() for name in found])
        raise AnnotationError(
            f'{root / "JPEGImages"}: {len(missing):,} of {len(ids):,} listed images are missing: {shorten(missing)}.'
            f' {advice or "Unpack the archives again, or take these ids out of ImageSets/Main."}'
        )
    for image_id in ids:
        if len(names[image_id]) > 1:
            raise AnnotationError(
                f'{root / "JPEGImages"}: the id {image_id} stands for several files, '
                f'{shorten(sorted(names[image_id]))}. Keep one.'
            )
    return {image_id: names[image_id][0] for image_id in ids}


def _read_objects(root: Path, ids: Sequence[str], split: str, spellings: Spellings) -> list[dict[str, bool]]:
    """{class name: whether all its objects are difficult} for each image; ``spellings`` notes how names are written."""
    folder = root / 'Annotations'
    files = {clean_name(item.name): item.path for item in os.scandir(folder) if item.is_file()}
    missing = [image_id for image_id in ids if f'{image_id}.xml' not in files]
    if missing:
        raise AnnotationError(
            f'{folder}: {len(missing):,} of {len(ids):,} annotation files of {split} are missing: {shorten(missing)}. '
            + (
                hint([f'{image_id}.xml' for image_id in missing], files)
                or 'Unpack the archives again, or take these ids out of ImageSets/Main.'
            )
        )
    found = [
        _read_xml(Path(files[f'{image_id}.xml']), spellings)
        for image_id in tqdm(ids, f'reading {split}', disable=None, leave=False)
    ]
    if not any(found):
        raise AnnotationError(
            f'{folder}: none of the {len(ids):,} images of {split} has an object. Check that the <object> elements are '
            'directly under the root element of each file.'
        )
    return found


def _read_xml(path: Path, spellings: Spellings) -> dict[str, bool]:
    with open(path, 'rb') as file:
        data = file.read(_LARGEST_XML + 1)
    if len(data) > _LARGEST_XML:
        raise AnnotationError(f'{path}: it has more than {_LARGEST_XML:,} bytes. Is it the annotation of one image?')
    try:
        tree = parse_xml(data)
    except ValueError as error:
        raise AnnotationError(f'{path}: {error}') from None

    found: dict[str, bool] = {}
    for number, item in enumerate(tree.findall('object'), 1):
        names, flags = item.findall('name'), item.findall('difficult')
        name = spellings[names[0].text or ''] if names else ''
        if not name:
            raise AnnotationError(f'{path}: object {number} has no name. Write its class as <name>dog</name>.')
        if len(names) > 1 or len(flags) > 1 or any(map(len, names + flags)):
            raise AnnotationError(
                f'{path}: object {number} ({name}) must have one <name> and at most one <difficult>, both of plain '
                'text. Make each class an object of its own.'
            )
        if CONTROL.search(name):
            raise AnnotationError(f'{path}: object {number}: its name {name!r} holds control characters. Rename it.')
        flag = ((flags[0].text if flags else None) or '0').strip()
        if flag not in ('0', '1'):
            raise AnnotationError(f'{path}: object {number} ({name}): expected <difficult> 0 or 1, found {flag!r}.')
        found[name] = found.get(name, True) and flag == '1'
    return found
