"""Data sets made of data sets: several one after another, one several times, rare classes more often.

They are MMEngine's, for labels that are positive, negative or unknown. What is asked of a
:class:`~sarlp.datasets.multilabel.MultiLabelDataset` can be asked of them, and they go into each other.

An image that occurs more than once, since it is repeated or lies in two of the parts, is augmented in a different way
each time: random numbers are a function of (seed, epoch, image id, occurrence). Its label mask is the same each time,
as far as the parts have the same mask, since that is a function of the image id.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset as _ClassBalanced
from mmengine.dataset import ConcatDataset as _Concat
from mmengine.dataset import RepeatDataset as _Repeat

from sarlp.datasets.multilabel import MultiLabelDataset, count_observed
from sarlp.errors import UserError
from sarlp.names.class_names import require_same
from sarlp.registry import DATASETS


class _Wrapper:
    """What the three share. A subclass has ``parts``, and says by ``_locate`` where an image is."""

    parts: list

    _locate: Callable[[int], tuple[Any, int, int]]  # the part that an image is of, the index there, which occurrence
    __len__: Callable[[], int]

    def locate(self, idx: int) -> tuple[MultiLabelDataset, int, tuple[int, ...]]:
        """The innermost data set of an image, the index there, and which occurrence of it this is."""
        part, inner, number = self._locate(range(len(self))[idx])
        if isinstance(part, _Wrapper):
            leaf, place, path = part.locate(inner)
            return leaf, place, (number, *path)
        return part, inner, (number,)

    def __getitem__(self, idx: int):
        leaf, inner, occurrence = self.locate(idx)
        return leaf.sample(inner, occurrence)

    def full_init(self) -> None:
        for part in self.parts:
            part.full_init()

    @property
    def leaves(self) -> list[MultiLabelDataset]:
        """The innermost data sets, in order."""
        return [leaf for part in self.parts for leaf in (part.leaves if isinstance(part, _Wrapper) else [part])]

    @property
    def metainfo(self) -> dict:
        """What the parts say of themselves: the value where they agree, a list of their values where they do not."""
        first, *others = (part.metainfo for part in self.parts)
        keys = dict.fromkeys(key for info in (first, *others) for key in info)
        return {
            key: first[key]
            if all(key in info and key in first and info[key] == first[key] for info in others)
            else [info.get(key) for info in (first, *others)]
            for key in keys
        }

    @property
    def classes(self) -> tuple[str, ...]:
        return self.parts[0].classes

    @property
    def source(self) -> str:
        return ', '.join(dict.fromkeys(leaf.source for leaf in self.leaves))

    def set_epoch(self, epoch: int) -> None:
        for part in self.parts:
            part.set_epoch(epoch)

    def get_labels(self, idx: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        leaf, inner, _ = self.locate(idx)
        return leaf.get_labels(inner)

    def get_data_info(self, idx: int) -> dict:
        leaf, inner, _ = self.locate(idx)
        return {**leaf.get_data_info(inner), 'sample_idx': idx}

    def image_id(self, idx: int) -> str:
        leaf, inner, _ = self.locate(idx)
        return leaf.image_id(inner)

    def image_path(self, idx: int) -> Path:
        leaf, inner, _ = self.locate(idx)
        return leaf.image_path(inner)

    def get_cat_ids(self, idx: int) -> list[int]:
        leaf, inner, _ = self.locate(idx)
        return leaf.get_cat_ids(inner)

    def label_counts(self) -> dict[str, np.ndarray]:
        """See :func:`~sarlp.datasets.multilabel.count_observed`; an image counts as often as it occurs."""
        return count_observed(self)


def _build(dataset):
    built = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
    if not isinstance(built, MultiLabelDataset | _Wrapper):
        raise UserError(
            f'a data set of type {type(built).__name__} has no positive, negative and unknown labels; expected '
            'MultiLabelDataset, or ConcatDataset, RepeatDataset or ClassBalancedDataset around it'
        )
    return built


@DATASETS.register_module()
class ConcatDataset(_Wrapper, _Concat):
    """Data sets of the same classes, one after another.

    Args:
        datasets: configs or data sets, at least one. Class lists in another order are matched by name when a run is
            built from a config (``metainfo.classes`` of a part says the order); here they must be equal.
    """

    def __init__(self, datasets: Sequence):
        if not isinstance(datasets, list | tuple) or not datasets:
            raise UserError(f'ConcatDataset.datasets must be a list of data sets, got {datasets!r}')
        self.parts = self.datasets = [_build(dataset) for dataset in datasets]
        for part in self.parts[1:]:
            require_same(
                part.classes,
                self.classes,
                part.source,
                self.parts[0].source,
                'Set metainfo=dict(classes=(...)) of the one to the order of the other',
            )
        self.cumulative_sizes = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def _locate(self, idx: int):
        number = int(np.searchsorted(self.cumulative_sizes, idx, 'right'))
        return self.parts[number], idx - (self.cumulative_sizes[number - 1] if number else 0), number


@DATASETS.register_module()
class RepeatDataset(_Wrapper, _Repeat):
    """A data set several times over.

    Args:
        dataset: config or data set.
        times: how often each image occurs in an epoch, at least 1.
    """

    def __init__(self, dataset, times: int):
        if type(times) is not int or times < 1:
            raise UserError(f'RepeatDataset.times must be a whole number, at least 1, got {times!r}')
        self.dataset, self.times = _build(dataset), times
        self.parts = [self.dataset]

    def __len__(self) -> int:
        return self.times * len(self.dataset)

    def _locate(self, idx: int):
        number, inner = divmod(idx, len(self.dataset))
        return self.dataset, inner, number


@DATASETS.register_module()
class ClassBalancedDataset(_Wrapper, _ClassBalanced):
    """A data set in which images of rare classes occur more than once in an epoch (LVIS, arXiv 1908.03195).

    An image occurs ``ceil(max(1, sqrt(oversample_thr / share)))`` times, with the share of images that are known to
    have its rarest known class. Only what the label mask shows counts.

    Args:
        dataset: config or data set.
        oversample_thr: share of images below which a class is rare, in (0, 1].
    """

    def __init__(self, dataset, oversample_thr: float):
        if not isinstance(oversample_thr, int | float) or not 0 < oversample_thr <= 1:
            raise UserError(f'ClassBalancedDataset.oversample_thr must be in (0, 1], got {oversample_thr!r}')
        self.dataset, self.oversample_thr = _build(dataset), oversample_thr
        self.parts = [self.dataset]
        factors = self._get_repeat_factors(self.dataset, oversample_thr)
        self.repeat_indices: list[int] = []
        self._numbers: list[int] = []
        for index, factor in enumerate(factors):
            self.repeat_indices += [index] * math.ceil(factor)
            self._numbers += range(math.ceil(factor))

    def __len__(self) -> int:
        return len(self.repeat_indices)

    def _locate(self, idx: int):
        return self.dataset, self.repeat_indices[idx], self._numbers[idx]
