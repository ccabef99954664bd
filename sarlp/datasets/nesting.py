"""The config of a data set, which may be made of data sets: what its annotation files, images and classes are.

A data set that reads an annotation file is called a leaf here. Configs are changed in place unless it says otherwise.
"""

import copy
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from sarlp.datasets.annotation import load_annotation
from sarlp.errors import UserError, shorten
from sarlp.io.files import digest_of_contents
from sarlp.names.class_names import check_names, columns_by_name
from sarlp.registry import DATASETS

# the arguments of each, the first of which holds what it is made of
_WRAPPERS = {
    'ConcatDataset': ('datasets',),
    'RepeatDataset': ('dataset', 'times'),
    'ClassBalancedDataset': ('dataset', 'oversample_thr'),
}
_SAME = (
    'Convert the splits of a data set in one run of the converter, and test a model on the classes it was trained for'
)


def spread_lists(dataset: Mapping, key: str) -> ConfigDict:
    """A copy in which every leaf with a list of annotation files is a ``ConcatDataset``.

    ``data_root`` and ``data_prefix.img_path`` may be lists as long, or one for all; everything else is for all.
    MMEngine's wrappers become those of :mod:`~sarlp.datasets.wrappers`.

    Args:
        dataset: config.
        key: where it is in the whole config, for messages.

    Raises:
        UserError: it is no config of a data set, lists are of different lengths, or a wrapper has other arguments.
    """
    if not isinstance(dataset, Mapping):
        raise UserError(f'{key}: expected the config of a data set, dict(type=...), got {dataset!r}')
    copied = ConfigDict(copy.deepcopy(dict(dataset)))
    kind = _kind(copied)
    if kind not in _WRAPPERS:
        return _concat(copied, key) if _is_listed(copied, key) else copied
    strange = sorted(copied.keys() - {'type', '_scope_', *_WRAPPERS[kind]})
    inner = _WRAPPERS[kind][0]
    if strange or inner not in copied:
        found = f'found {", ".join(strange)}' if strange else f'there is no {inner}'
        raise UserError(
            f'{key}: a {kind} has {" and ".join(_WRAPPERS[kind])} and nothing else, but {found}. What is for '
            f'the images goes into {key}.{inner}{".0, .1, ..." if inner == "datasets" else ""}'
        )
    copied.type = kind
    if inner == 'dataset':
        copied.dataset = spread_lists(copied.dataset, f'{key}.dataset')
    elif isinstance(copied.datasets, list | tuple) and copied.datasets:
        copied.datasets = [spread_lists(part, f'{key}.datasets.{i}') for i, part in enumerate(copied.datasets)]
    else:
        raise UserError(f'{key}.datasets: expected a list of data sets, got {copied.datasets!r}')
    return copied


def _kind(dataset: Mapping) -> str:
    kind = dataset.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def _is_listed(dataset: ConfigDict, key: str) -> bool:
    listed = isinstance(dataset.get('ann_file'), list | tuple)
    prefix = dataset.get('data_prefix')
    folders = dict(data_root=dataset.get('data_root'), img_path=prefix.get('img_path') if prefix else None)
    for name, value in folders.items():
        if isinstance(value, list | tuple) and not listed:
            raise UserError(f'{key}: {name} is the list {list(value)}, so ann_file must be one as long')
    return listed


def _concat(dataset: ConfigDict, key: str) -> ConfigDict:
    files = list(dataset.ann_file)
    prefix = dataset.get('data_prefix') or {}
    spread = {'ann_file': files, 'data_root': dataset.get('data_root'), 'img_path': prefix.get('img_path')}
    for name, values in spread.items():
        if not isinstance(values, list | tuple):
            spread[name] = [values] * len(files)
        elif len(values) != len(files) or not files:
            raise UserError(f'{key}: {name} lists {len(values)}, and ann_file {len(files)}; give one for all, or each')
    parts = []
    for file, root, img_path in zip(*spread.values(), strict=True):
        part = copy.deepcopy(dataset)
        part.ann_file = file
        if root is not None:
            part.data_root = root
        if img_path is not None:
            part.data_prefix = dict(img_path=img_path)
        parts.append(part)
    return parts[0] if len(parts) == 1 else ConfigDict(type='ConcatDataset', datasets=parts)


def keyed_leaves(dataset: Mapping, key: str = 'dataset') -> Iterator[tuple[str, ConfigDict]]:
    """The leaves of a config, each with its key, such as ``dataset.datasets.0``; after :func:`spread_lists`."""
    inner = _WRAPPERS.get(_kind(dataset), ('',))[0]
    if inner == 'dataset':
        yield from keyed_leaves(dataset['dataset'], f'{key}.dataset')
    elif inner == 'datasets':
        for index, part in enumerate(dataset['datasets']):
            yield from keyed_leaves(part, f'{key}.datasets.{index}')
    else:
        yield key, dataset


def leaves(dataset: Mapping) -> list[ConfigDict]:
    """The leaves of a config, in the order of their images."""
    return [leaf for _, leaf in keyed_leaves(dataset)]


def annotation_path(leaf: Mapping) -> Path:
    """The annotation file of a leaf.

    Raises:
        UserError: it names none.
    """
    if leaf.get('ann_file') is None:
        raise UserError(
            f'a data set of type {leaf.get("type")!r} has no ann_file; expected MultiLabelDataset, or one of '
            f'{", ".join(_WRAPPERS)} around it'
        )
    return Path(leaf.get('data_root') or '') / leaf['ann_file']


def annotation_paths(dataset: Mapping) -> list[Path]:
    """The annotation files of a data set, each once."""
    return list(dict.fromkeys(map(annotation_path, leaves(dataset))))


def image_folder(leaf: Mapping) -> Path:
    """The folder that the paths of a leaf's images are relative to."""
    return Path(leaf.get('data_root') or '') / (leaf.get('data_prefix') or {}).get('img_path', '')


def digest_of_images(dataset: Mapping) -> str:
    """In hexadecimal digits, of what is in the image files of a data set, whichever part of them it takes."""
    return digest_of_contents(
        image_folder(leaf) / entry['img_path']
        for leaf in leaves(dataset)
        for entry in load_annotation(annotation_path(leaf))[1]
    )


def name_files(dataset: Mapping) -> str:
    """The annotation files of a data set, for messages."""
    return ', '.join(map(str, annotation_paths(dataset)))


def with_options(dataset: Mapping, **options: Any) -> ConfigDict:
    """A copy of which every leaf has these options."""
    dataset = ConfigDict(copy.deepcopy(dict(dataset)))
    for leaf in leaves(dataset):
        for name, value in options.items():
            leaf[name] = copy.deepcopy(value)
    return dataset


def whole(dataset: Mapping) -> ConfigDict:
    """A copy with all images and known labels, also those that training leaves to select an epoch by."""
    dataset = with_options(dataset)
    for leaf in leaves(dataset):
        for name in ('holdout', 'label_fold'):
            leaf.pop(name, None)
    return dataset


def each_once(dataset: Mapping) -> ConfigDict:
    """A copy without what repeats images: for measuring, where an image counts once."""
    kind = _kind(dataset)
    if kind == 'ConcatDataset':
        return ConfigDict(type='ConcatDataset', datasets=[each_once(part) for part in dataset['datasets']])
    return each_once(dataset['dataset']) if kind in _WRAPPERS else ConfigDict(copy.deepcopy(dict(dataset)))


def require_each_once(dataset: Mapping, key: str) -> None:
    """Where something is measured an image counts once, and predictions are told apart by its path.

    Raises:
        UserError: an image is repeated, or a path is in two of the annotation files.
    """
    if set(_kinds(dataset)) & {'RepeatDataset', 'ClassBalancedDataset'}:
        raise UserError(f'{key}: images that are tested count once; leave RepeatDataset and ClassBalancedDataset out')
    if len(leaves(dataset)) == 1:
        return
    built = build_labels(dataset)
    times = Counter(built.get_labels(index)[0] for index in range(len(built)))
    repeated = [name for name, number in times.items() if number > 1]
    if repeated:
        raise UserError(
            f'{key}: {len(repeated)} image paths are in more than one of {built.source}, and predictions would be told '
            f'apart by them: {shorten(repeated)}. Name the images differently, or leave them out of one file'
        )


def _kinds(dataset: Mapping) -> Iterator[str]:
    kind = _kind(dataset)
    yield kind
    for part in dataset['datasets'] if kind == 'ConcatDataset' else [dataset['dataset']] if kind in _WRAPPERS else []:
        yield from _kinds(part)


def build_labels(dataset: Mapping):
    """Build a data set for its labels: each image once, none is read, classes in the order of the first leaf.

    Raises:
        UserError: an annotation file or images are missing or damaged, or the leaves have different classes.
    """
    dataset = with_options(each_once(dataset), pipeline=[])
    order_classes(dataset, classes_of(dataset), annotation_paths(dataset)[0])
    return DATASETS.build(dataset)


def option_of(dataset: Mapping, name: str) -> Any:
    """An option of a data set, for people: its value if the leaves have the same, else a list of their values."""
    values = [leaf.get(name) for leaf in leaves(dataset)]
    values = [dict(value) if isinstance(value, Mapping) else value for value in values]
    return values[0] if all(value == values[0] for value in values) else values


def classes_of(dataset: Mapping) -> tuple[str, ...]:
    """The classes of a data set in its order, which is that of the first leaf: as stated there, or as in its file.

    Raises:
        UserError: the annotation file is missing or damaged, or names other classes than the config.
    """
    return _own_classes(leaves(dataset)[0])


def _own_classes(leaf: Mapping) -> tuple[str, ...]:
    file = annotation_path(leaf)
    stated = (leaf.get('metainfo') or {}).get('classes')
    names = _read_classes(file, _state(file))
    if stated is None or isinstance(stated, str):  # a file with a name a line, as MMEngine has it
        return names if stated is None else DATASETS.build({**leaf, 'pipeline': []}).classes
    classes = check_names(stated, f'metainfo.classes for {file}')
    columns_by_name(
        names,
        classes,
        file,
        'metainfo.classes of the config',
        'metainfo.classes may put the classes of the file in another order, but must name them all',
    )
    return classes


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=32)
def _read_classes(file: Path, state: tuple[int, int] | None) -> tuple[str, ...]:
    """``state`` is of the file, so that one that was written anew is read anew."""
    return load_annotation(file)[0]['classes']


def order_classes(dataset: Mapping, classes: tuple[str, ...], source: object) -> None:
    """Let every leaf have its labels in the order of these classes, in place; a leaf that has stays as it is.

    Args:
        dataset: config.
        classes: C names.
        source: what they are the classes of, for the message.

    Raises:
        UserError: a leaf has other classes.
    """
    for leaf in leaves(dataset):
        names = _own_classes(leaf)
        columns_by_name(names, classes, annotation_path(leaf), source, _SAME)
        if names != tuple(classes):
            leaf['metainfo'] = {**(leaf.get('metainfo') or {}), 'classes': list(classes)}
