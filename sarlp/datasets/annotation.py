"""The annotation file: one JSON format for every data set, read, checked and written here and nowhere else.

.. code-block:: json

    {"metainfo": {"classes": ["cat", "dog", "sofa"]},
     "data_list": [
       {"img_path": "images/1.jpg", "positive": [0], "negative": "rest", "ignore": []},
       {"img_path": "images/2.jpg", "positive": [1], "negative": [2], "ignore": []}
     ]}

An id is a position in ``classes``, from 0. A class that is neither positive nor negative is **unknown**: in the second
image nobody looked for a cat. ``"rest"`` makes every class that is not positive negative. ``ignore``, which may be left
out, lists classes that metrics skip for this image; it is independent of the label, so under ``"rest"`` an ignored
class is still a negative one in training. ``img_path`` is relative to a folder that the config names and is also the
image's identity: label masks are drawn from it. ``groups`` in ``metainfo`` says which images belong together
(:mod:`sarlp.datasets.groups`); further keys of it are free.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from sarlp.datasets.near_names import hint_below
from sarlp.errors import UserValueError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.json_file import is_deeper, read_json, show
from sarlp.io.outputs import begins_with, check_output
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.class_names import columns_by_name
from sarlp.names.clean_names import clean_name, look_alike, show_spellings

REST = 'rest'
CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')  # refused in names, which are printed
_REQUIRED = frozenset({'img_path', 'positive', 'negative'})
_ALLOWED = _REQUIRED | {'ignore'}
_HEAD = '{"metainfo": '  # of a file
_DEEPEST = 32  # levels of metainfo


class AnnotationError(UserValueError):
    """An annotation file, or the data that one is made from, is not as it must be."""


def load_annotation(path: str | os.PathLike) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read and check an annotation file.

    Args:
        path: the JSON file, UTF-8.

    Returns:
        ``metainfo``, with ``classes`` as a tuple of str and every other key as it is in the file, and ``data_list``, a
        list of ``{'img_path': str, 'positive': [int], 'negative': [int] | 'rest', 'ignore': [int]}`` in the order of
        the file.

    Raises:
        AnnotationError: the file is missing, is not JSON, or breaks a rule of the format.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise AnnotationError(
            f'{path}: there is no such annotation file. Make it with a converter (sarlp convert --help), or correct '
            '`data_root` and `ann_file` in the config.'
        ) from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise AnnotationError(f'{path}: expected a JSON file in UTF-8, found something else ({error}).') from None
    except ValueError as error:
        raise AnnotationError(
            f'{path}: expected JSON, but it does not parse ({error}). Correct the file there or convert it anew.'
        ) from None

    if not isinstance(content, dict) or content.keys() != {'metainfo', 'data_list'}:
        found = f'the keys {show(sorted(content))}' if isinstance(content, dict) else _kind(content)
        raise AnnotationError(
            f'{path}: expected an object with exactly the keys "metainfo" and "data_list", found {found}. '
            'Anything else about the data set belongs inside "metainfo".'
        )
    metainfo, data_list = content['metainfo'], content['data_list']
    if not isinstance(metainfo, dict) or 'classes' not in metainfo:
        raise AnnotationError(
            f'{path}: expected "metainfo" to be an object with the key "classes", found {show(metainfo)}. '
            'List there the class names in the order of their ids.'
        )
    if is_deeper(metainfo, _DEEPEST):  # what copies it would run out of stack
        raise AnnotationError(f'{path}: "metainfo" is nested more than {_DEEPEST} levels deep. Flatten it.')
    validate(metainfo['classes'], data_list, path)
    try:
        json.dumps(metainfo, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise AnnotationError(f'{path}: "metainfo" holds no valid Unicode ({error}).') from None
    for entry in data_list:
        entry.setdefault('ignore', [])
    return {**metainfo, 'classes': tuple(metainfo['classes'])}, data_list


def dump_annotation(
    path: str | os.PathLike, classes: Sequence[str], data_list: Sequence[dict[str, Any]], **metainfo: Any
) -> None:
    """Check the data and write them as an annotation file, one image a line, all of it or nothing.

    Args:
        path: the file to write; its folder is made, an older annotation file is replaced.
        classes: class names in the order of their ids.
        data_list: entries as :func:`load_annotation` returns them; ``ignore`` may be left out.
        **metainfo: anything else that JSON can hold and that a reader should know of the data.

    Raises:
        AnnotationError: the data break a rule of the format; nothing is written.
        UserError: there is a file of this name that is no annotation file.
    """
    classes, data_list = list(classes), list(data_list)
    validate(classes, data_list, path)
    check_output(path, (), begins_with(_HEAD))
    head = json.dumps({**metainfo, 'classes': classes}, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(_HEAD + head + ',\n "data_list": [\n')
        # the keys are put in one order, so that files of different origin can be compared line by line
        lines = (
            json.dumps(
                {
                    'img_path': entry['img_path'],
                    'positive': entry['positive'],
                    'negative': entry['negative'],
                    'ignore': entry.get('ignore', []),
                },
                ensure_ascii=False,
            )
            for entry in data_list
        )
        for index, line in enumerate(lines):
            file.write((',\n  ' if index else '  ') + line)
        file.write('\n]}\n')


def validate(classes: Sequence[str], data_list: Sequence[dict[str, Any]], source: str | os.PathLike) -> None:
    """Check class names and entries against the format; ``source`` names them in messages.

    Raises:
        AnnotationError: at the first thing that is wrong.
    """
    if not isinstance(classes, (list, tuple)) or not classes:
        raise AnnotationError(f'{source}: expected "classes" to be a list of class names, found {show(classes)}.')
    for index, name in enumerate(classes):
        if not isinstance(name, str) or not clean_name(name) or name != name.strip():
            raise AnnotationError(
                f'{source}: class {index} must have a name without spaces around it, found {show(name)}.'
            )
        if CONTROL.search(name):
            raise AnnotationError(
                f'{source}: the name of class {index}, {show(name)}, holds control characters or no valid Unicode. '
                'Names are printed and written into tables; rename it.'
            )
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise AnnotationError(
            f'{source}: class names must differ, but these occur more than once: {show(repeated)}. Ids are positions '
            'in the list of classes, so remove the repetition and number the labels anew.'
        )
    alike = look_alike(classes)
    if alike:
        raise AnnotationError(
            f'{source}: class names must differ in more than how accents, spaces or invisible characters are stored, '
            f'but these do not: {shorten(list(map(show_spellings, alike)))}. Convert the labels anew, or make them one '
            'class and number the labels anew.'
        )
    if not isinstance(data_list, (list, tuple)):
        raise AnnotationError(f'{source}: expected "data_list" to be a list of images, found {_kind(data_list)}.')
    if not data_list:
        raise AnnotationError(f'{source}: the split is empty: "data_list" holds no image. Check what it was made from.')

    # This loop runs once for each of 10^5 images with up to 10^2 labels, so the usual case is a few set operations.
    # bool is refused although it is an int in Python: `true` in a list of ids is a mask where ids are expected.
    valid, only_int = frozenset(range(len(classes))), {int}
    seen: dict[str, int] = {}
    for index, entry in enumerate(data_list):
        if not isinstance(entry, dict) or not _REQUIRED <= entry.keys() <= _ALLOWED:
            _bad_keys(source, index, entry)
        img_path = entry['img_path']
        _check_img_path(source, index, img_path)
        if seen.setdefault(img_path, index) != index:
            raise AnnotationError(
                f'{_where(source, index, img_path)}: this image is in the file already, at index {seen[img_path]}. '
                'Merge the two entries into one.'
            )
        sets = {}
        for key in ('positive', 'negative', 'ignore'):
            ids = entry.get(key, ())
            if key == 'negative' and isinstance(ids, str) and ids == REST:
                continue
            if not isinstance(ids, (list, tuple)):
                expected = 'a list of class ids or "rest"' if key == 'negative' else 'a list of class ids'
                raise AnnotationError(
                    f'{_where(source, index, img_path)}: expected "{key}" to be {expected}, found {show(ids)}. '
                    'An empty list is [].'
                )
            if ids and set(map(type, ids)) != only_int or not valid.issuperset(ids):
                bad = [i for i in ids if type(i) is not int or i not in valid]
                raise AnnotationError(
                    f'{_where(source, index, img_path)}: "{key}" must hold class ids, whole numbers from 0 to '
                    f'{len(classes) - 1} (there are {len(classes)} classes), found {show(bad)}. Ids are positions in '
                    '"classes", counted from 0.'
                )
            sets[key] = set(ids)
            if len(sets[key]) != len(ids):
                repeated = [i for i, count in Counter(ids).items() if count > 1]
                raise AnnotationError(
                    f'{_where(source, index, img_path)}: "{key}" names the same class more than once: '
                    f'{_names(repeated, classes)}. Name each class once.'
                )
        both = sets['positive'] & sets.get('negative', set())
        if both:
            raise AnnotationError(
                f'{_where(source, index, img_path)}: a class can not be both positive and negative: '
                f'{_names(sorted(both), classes)}. Remove it from one list, or from both where it is unknown.'
            )


def labels_of(entry: dict[str, Any], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of one image as arrays.

    Args:
        entry: of a data list that :func:`load_annotation` returned.
        num_classes: C, the length of ``metainfo['classes']``.

    Returns:
        ``labels``, (C,) int8 of 1 positive, 0 negative, -1 unknown, and ``ignore``, (C,) bool, True where metrics skip
        the class for this image.
    """
    rest = isinstance(entry['negative'], str)
    labels = np.full(num_classes, NEGATIVE if rest else UNKNOWN, np.int8)
    if not rest:
        labels[entry['negative']] = NEGATIVE
    labels[entry['positive']] = POSITIVE
    ignore = np.zeros(num_classes, bool)
    ignore[entry.get('ignore', [])] = True
    return labels, ignore


def put_in_order(
    names: Sequence[str], data_list: Sequence[dict[str, Any]], classes: Sequence[str], source: object, other: object
) -> Sequence[dict[str, Any]]:
    """Entries with the ids that their classes have in another list of the same names.

    Args:
        names, data_list: as :func:`load_annotation` returns them.
        classes: the names in the order that is wanted.
        source, other: what the two lists are from, for the message.

    Returns:
        New entries, or the very list where the order is the same.

    Raises:
        AnnotationError: the two lists have different names.
    """
    advice = 'Convert all annotation files of a data set together, so that they name the same classes'
    columns_by_name(names, classes, source, other, advice, error=AnnotationError)
    if tuple(names) == tuple(classes):
        return data_list
    place = {name: index for index, name in enumerate(classes)}
    ids = [place[name] for name in names]

    def moved(value: Any) -> Any:
        return value if isinstance(value, str) else sorted(ids[index] for index in value)

    return [{key: value if key == 'img_path' else moved(value) for key, value in e.items()} for e in data_list]


def check_images(img_root: str | os.PathLike, data_list: Sequence[dict[str, Any]], source: str | os.PathLike) -> None:
    """See that every image is there, before a run finds out.

    Args:
        img_root: the folder that ``img_path`` is relative to.
        data_list: entries with ``img_path``.
        source: the annotation file, for the message.

    Raises:
        AnnotationError: says how many images are missing and names the first ten.
    """
    if not os.path.isdir(img_root):
        raise AnnotationError(
            f'{source}: its images should be under {img_root}, but there is no such folder. Correct `data_root` or '
            '`data_prefix` in the config, or fetch the images.'
        )
    missing = [e['img_path'] for e in data_list if not os.path.isfile(os.path.join(img_root, e['img_path']))]
    if missing:
        near = hint_below(missing, img_root)
        raise AnnotationError(
            f'{source}: {len(missing):,} of {len(data_list):,} images are missing under {img_root}: '
            f'{shorten(missing)}.{near} Fetch them, {"or " if near else ""}correct `data_root` or `data_prefix` in the '
            f'config{"" if near else ", or leave their entries out of the annotation file"}.'
        )


def _check_img_path(source: str | os.PathLike, index: int, img_path: Any) -> None:
    problem = None
    if not isinstance(img_path, str):
        problem = 'a string is expected'
    elif '\\' in img_path:
        problem = 'back-slashes are refused; write / between folders, on every system'
    elif img_path[:1] == '/' or img_path[1:2] == ':':
        problem = 'absolute paths are refused; write the path relative to the image folder'
    elif not {'', '.', '..'}.isdisjoint(img_path.split('/')):
        # one image must have one spelling, since the label mask is drawn from it
        problem = 'empty paths, //, a trailing /, "." and ".." as folders are refused; write the plain relative path'
    elif not img_path.isprintable() and CONTROL.search(img_path):
        problem = 'control characters, such as NUL and line breaks, and what is no valid Unicode are refused; rename it'
    if problem:
        raise AnnotationError(f'{source}, data_list[{index}]: bad "img_path" {show(img_path)}: {problem}.')


def _bad_keys(source: str | os.PathLike, index: int, entry: Any) -> NoReturn:
    where = _where(source, index, entry.get('img_path', 'no img_path') if isinstance(entry, dict) else 'not an object')
    if not isinstance(entry, dict):
        raise AnnotationError(f'{where}: expected an object for each image, found {show(entry)}.')
    missing, unknown = sorted(_REQUIRED - entry.keys()), sorted(map(str, entry.keys() - _ALLOWED))
    if unknown:
        raise AnnotationError(
            f'{where}: unknown key {show(unknown)}; an image has "img_path", "positive", "negative" and, where '
            'needed, "ignore". Correct the spelling or remove it.'
        )
    raise AnnotationError(
        f'{where}: missing key {show(missing)}. For "negative" write "rest" if every class that is not positive is '
        'absent, a list of ids if only those are, [] if none is known to be.'
    )


def _where(source: str | os.PathLike, index: int, img_path: Any) -> str:
    return f'{source}, data_list[{index}] ({show(img_path)})'


def _names(ids: Sequence[int], classes: Sequence[str]) -> str:
    return shorten([f'{i} ({classes[i]})' for i in ids])


def _kind(value: Any) -> str:
    return f'a value of type {type(value).__name__}'
