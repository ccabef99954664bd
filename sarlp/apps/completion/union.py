"""Both splits as one data set, where folds complete both."""

import os
from collections.abc import Mapping
from pathlib import Path

from sarlp.apps.completion.training import STARTED
from sarlp.datasets.annotation import dump_annotation, load_annotation, put_in_order
from sarlp.datasets.groups import GROUPS, groups_of
from sarlp.datasets.nesting import annotation_paths, classes_of, leaves, name_files, with_options
from sarlp.errors import UserError

UNION = 'images.json'  # its annotation file


def union_of(datasets: Mapping[str, Mapping], folder: Path) -> Mapping:
    """One data set of both splits, since every image is once held out.

    Args:
        datasets: config of the data set of each split.
        folder: of the folds, for the annotation file :data:`UNION`.

    Raises:
        UserError: a label mask hides labels; or folds were begun there on other labels, whose file stays: the review of
            their completion reads it.
    """
    if any(leaf.get('label_mask') is not None for dataset in datasets.values() for leaf in leaves(dataset)):
        raise UserError('folds complete both splits only where no label mask hides labels; choose --split train')
    classes = classes_of(datasets['train'])
    entries: list[dict] = []
    groups: dict[str, str] = {}
    for dataset in datasets.values():
        (file,) = annotation_paths(dataset)
        metainfo, data_list = load_annotation(file)
        entries += put_in_order(metainfo['classes'], data_list, classes, file, name_files(datasets['train']))
        groups |= groups_of(metainfo, file)
    file, new = folder / UNION, folder / f'new_{UNION}'
    dump_annotation(new, classes, entries, split='trainval and test', **({GROUPS: groups} if groups else {}))
    if file.is_file() and file.read_bytes() != new.read_bytes() and any(folder.glob(f'fold*/{STARTED}')):
        new.unlink()
        raise UserError(
            f'{folder}: its folds were trained on other labels or images than {name_files(datasets["train"])} and the '
            f'other splits have now. Remove {folder}, or choose another --out'
        )
    os.replace(new, file)
    return with_options(datasets['train'], ann_file=str(file.absolute()))
