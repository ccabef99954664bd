"""Complete labels to measure against."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sarlp.apps.spreadsheets.label_files import ImageFolder, merge_images, open_labels
from sarlp.datasets.annotation import AnnotationError, labels_of, load_annotation
from sarlp.datasets.near_names import hint, near_names
from sarlp.errors import UserError, shorten
from sarlp.io.json_file import read_json
from sarlp.labels import UNKNOWN
from sarlp.names.class_names import columns_by_name
from sarlp.names.clean_names import match_names


def read_truth(
    path: str | os.PathLike, img_root: str | os.PathLike, classes: Sequence[str], image_ids: Sequence[str]
) -> np.ndarray:
    """Labels of images from an annotation file, or from any file of labels that ``csv_labels.py`` reads.

    Args:
        path: the file.
        img_root: folder of the images.
        classes: C names; the file may have others too, and in another order.
        image_ids: N paths relative to ``img_root``.

    Returns:
        (N, C) int8 of 1 / 0 / -1; -1 where the file does not say, or metrics leave the pair out.

    Raises:
        UserError: the file can not be read, contradicts itself, lacks a class, or knows of none of the images; or an
            image that it lacks may be one that it names otherwise.
    """
    missing = []
    if _is_annotation(path):
        metainfo, data_list = load_annotation(path)
        names = metainfo['classes']
        labels = {}
        for entry in data_list:
            codes, ignore = labels_of(entry, len(names))
            labels[entry['img_path']] = np.where(ignore, UNKNOWN, codes)
    else:
        folder = ImageFolder(img_root)
        file = open_labels(path, is_image=folder.has)
        merged = merge_images(file, folder)
        if merged.contradictions:
            raise UserError(
                f'{path}: {len(merged.contradictions):,} labels contradict each other: '
                f'{shorten(merged.contradictions)}. Correct the file'
            )
        names, labels, missing = tuple(file.classes), merged.labels, list(merged.missing)
    advice = 'The file of complete labels may have other classes too, but must have those of the data set'
    columns = columns_by_name(names, classes, path, 'the data set', advice, more=True)
    rows = match_names(image_ids, list(labels))
    without = [image for image, row in zip(image_ids, rows, strict=True) if row is None]
    if near_names(missing, without) or len(without) == len(image_ids):
        raise UserError(
            f'{path}: says nothing of {len(without):,} of {len(image_ids):,} images, such as {shorten(without)}. '
            f'{hint(missing, without) or "Give the labels of the images that are completed"}'
        )
    table = np.stack([*labels.values(), np.full(len(names), UNKNOWN, np.int8)])
    return table[[-1 if row is None else row for row in rows]][:, columns].astype(np.int8)


def count_contradictions(truth: np.ndarray, observed: np.ndarray, path: str | os.PathLike) -> dict[str, int]:
    """Of the known labels that a truth has too, how many it ``contradicted``, and how many were ``compared``.

    Args:
        truth, observed: (N, C) of 1 / 0 / -1.
        path: of the truth, for the message.

    Raises:
        UserError: most of them.
    """
    both = (truth != UNKNOWN) & (observed != UNKNOWN)
    number, compared = int((truth != observed)[both].sum()), int(both.sum())
    if number > compared / 2:
        raise UserError(
            f'{path}: contradicts {number:,} of the {compared:,} known labels that it has too, so it is no truth of '
            'these labels: yes and no may have changed places, or rows and columns may have got out of step'
        )
    return {'contradicted': number, 'compared': compared}


def _is_annotation(path: str | os.PathLike) -> bool:
    if Path(path).suffix.lower() != '.json':
        return False
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise AnnotationError(f'{path}: expected a JSON file ({error})') from None
    return isinstance(content, dict) and 'data_list' in content
