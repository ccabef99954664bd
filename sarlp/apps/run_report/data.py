"""The labels of a split, as the config of a run has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from sarlp.datasets.nesting import build_labels
from sarlp.datasets.statistics import LabelCounts, co_occurrences, count_labels
from sarlp.errors import UserError
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.class_names import columns_by_name


@dataclass(frozen=True)
class Split:
    """The labels of the N images of a split.

    Attributes:
        classes: C names.
        image_ids: N ids.
        paths: the N files.
        observed: (N, C) int8 of 1 / 0 / -1, after the label mask.
        full: (N, C) int8 of 1 / 0 / -1, as the annotation file has them.
        ignore: (N, C) bool.
    """

    classes: tuple[str, ...]
    image_ids: list[str]
    paths: list[Path]
    observed: np.ndarray
    full: np.ndarray
    ignore: np.ndarray

    def in_order(self, classes: Sequence[str], source: object) -> 'Split':
        """The same with the classes in another order.

        Raises:
            UserError: these are other classes than the split's; ``source`` is what they are from.
        """
        advice = 'Test and draw with the data that the run was trained on'
        columns = columns_by_name(self.classes, classes, 'the split', source, advice)
        labels = (array[:, columns] for array in (self.observed, self.full, self.ignore))
        return Split(tuple(classes), self.image_ids, self.paths, *labels)

    def measured(self) -> np.ndarray:
        """(N, C) int8: the complete labels, unknown where metrics ignore them."""
        return np.where(self.ignore, UNKNOWN, self.full).astype(np.int8)

    def entries(self) -> list[dict]:
        """What is observed, in the form of an annotation file."""
        return [
            {
                'img_path': name,
                'positive': np.flatnonzero(row == POSITIVE).tolist(),
                'negative': np.flatnonzero(row == NEGATIVE).tolist(),
            }
            for name, row in zip(self.image_ids, self.observed, strict=True)
        ]

    def counts(self) -> LabelCounts:
        return count_labels(self.classes, self.entries())

    def co_occurrence(self, chosen: list[int]) -> np.ndarray:
        return co_occurrences(self.entries(), len(self.classes), chosen)


def read_split(cfg: Config, name: str) -> Split:
    """The split of ``cfg.<name>_dataloader``.

    Args:
        cfg: config of a training.
        name: ``'train'`` or ``'test'``.

    Raises:
        UserError: the annotation file or images are not there, or damaged; or the training has no such split.
    """
    if cfg.get(f'{name}_dataloader') is None:
        raise UserError(f'{name}_dataloader is None, so this training has no such split')
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    dataset = build_labels(cfg[f'{name}_dataloader'].dataset)
    number = len(dataset)
    observed, full = (np.empty((number, len(dataset.classes)), np.int8) for _ in range(2))
    ignore, ids = np.empty(full.shape, bool), []
    paths = [dataset.image_path(index) for index in range(number)]
    for index in range(number):
        image_id, observed[index], full[index], ignore[index] = dataset.get_labels(index)
        ids.append(image_id)
    return Split(dataset.classes, ids, paths, observed, full, ignore)
