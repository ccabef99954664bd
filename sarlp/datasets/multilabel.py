"""The data set: images with labels that are positive, negative or unknown."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import MMLogger

from sarlp.datasets.annotation import check_images, labels_of, load_annotation
from sarlp.datasets.groups import GROUPS, groups_of
from sarlp.datasets.label_folds import LabelFold
from sarlp.datasets.label_masks import LabelMask
from sarlp.errors import UserError
from sarlp.labels import NEGATIVE, POSITIVE, holdout_number
from sarlp.names.class_names import check_names, columns_by_name
from sarlp.registry import DATASETS, LABEL_MASKS
from sarlp.transforms.kept_tokens import KeptTokens
from sarlp.transforms.loading import BadImageError
from sarlp.transforms.seeding import seeded

NO_GROUPS: Mapping[str, str] = {}


def hold_out(
    data_list: Sequence[dict], part: str, share: float = 0.1, seed: int = 0, groups: Mapping[str, str] = NO_GROUPS
) -> list[dict]:
    """One part of a split of the images, drawn from (seed, image id) alone, or (seed, group).

    Args:
        data_list: entries of an annotation file.
        part: ``'train'`` or ``'holdout'``; with the same share and seed the two have no image in common.
        share: chance of an image to be held out, in (0, 1); a larger share holds out the same images and more.
        seed: any integer.
        groups: by image id, see :mod:`sarlp.datasets.groups`.
    """
    if part not in ('train', 'holdout'):
        raise UserError(f"holdout.part must be 'train' or 'holdout', got {part!r}")
    if not 0 < share < 1:
        raise UserError(f'holdout.share must be in (0, 1), got {share!r}')
    chosen = [e for e in data_list if (holdout_number(seed, _together(e, groups)) < share) == (part == 'holdout')]
    if not chosen:
        raise UserError(f'holdout.share = {share} leaves no image of {len(data_list)} in the part {part!r}; change it')
    return chosen


def _together(entry: dict, groups: Mapping[str, str]) -> str:
    return groups.get(entry['img_path'], entry['img_path'])


def fold_of(image_id: str, number: int, seed: int = 0) -> int:
    """The fold of an image or a group, 0 to ``number`` - 1, drawn from (seed, its name) alone."""
    return int(number * holdout_number(seed, image_id, 'fold'))


def take_fold(
    data_list: Sequence[dict],
    part: str,
    index: int,
    number: int,
    seed: int = 0,
    groups: Mapping[str, str] = NO_GROUPS,
) -> list[dict]:
    """The images of one fold (``part='fold'``), or of all others (``part='rest'``).

    Args:
        data_list: entries of an annotation file.
        part: ``'fold'`` or ``'rest'``.
        index: of the fold, 0 to ``number`` - 1.
        number: of folds, at least 2.
        seed: any integer.
        groups: by image id, see :mod:`sarlp.datasets.groups`.
    """
    if part not in ('fold', 'rest') or number < 2 or not 0 <= index < number:
        raise UserError(
            "fold must have part 'fold' or 'rest', number >= 2 and 0 <= index < number; got "
            f'{part!r}, {number}, {index}'
        )
    chosen = [e for e in data_list if (fold_of(_together(e, groups), number, seed) == index) == (part == 'fold')]
    if not chosen:
        raise UserError(f'fold {index} of {number} leaves no image of {len(data_list)} in the part {part!r}')
    return chosen


def count_observed(dataset) -> dict[str, np.ndarray]:
    """Known positives and known negatives of each class after the mask, (C,) int64 each."""
    observed = np.stack([dataset.get_labels(i)[1] for i in range(len(dataset))])
    return {'positive': (observed == POSITIVE).sum(0), 'negative': (observed == NEGATIVE).sum(0)}


def _check_paths(ann_file: object, data_root: object, data_prefix: object) -> None:
    if isinstance(ann_file, list | tuple):
        raise UserError(
            'MultiLabelDataset reads one annotation file; put one data set for each into a ConcatDataset, or let '
            'sarlp.engine.load_config read the config, which does so'
        )
    if not isinstance(data_prefix, Mapping) or data_prefix.keys() != {'img_path'}:
        raise UserError(f"data_prefix must be dict(img_path='FOLDER'), got {data_prefix!r}")
    for name, value in (('ann_file', ann_file), ('data_root', data_root), ('img_path', data_prefix['img_path'])):
        if not isinstance(value, str | os.PathLike) and not (value is None and name == 'data_root'):
            raise UserError(f'{name} must be a path, got {value!r} of type {type(value).__name__}')


@DATASETS.register_module()
class MultiLabelDataset(BaseDataset):
    """Images and tri-state labels from one annotation file (docs/data.md has the format).

    A sample handed to the pipeline holds

    - ``index``, the place of the image in the training set, ``first_index`` and further;
    - ``img_path``, and ``img_id``: the path relative to the image root, forward slashes;
    - ``gt_score`` (C,) float32 of 1 / 0 / -1, what may be seen: the labels after the label mask;
    - ``ignore`` (C,) bool, pairs that metrics leave out;
    - in testing ``gt_score_full`` (C,) float32 of 1 / 0 / -1, the labels as the file has them, for metrics. In training
      it is left out, so that no method can see what the mask hides.

    The augmentation of an image is a function of (seed, epoch, image id, occurrence): it is the same whatever the
    number of workers and ranks, and differs between epochs, and between the occurrences of an image in a wrapper.

    Args:
        ann_file: annotation file, relative to ``data_root``.
        metainfo: ``classes`` puts the classes of the file in another order; its names must be those of the file.
            Other keys go before those of the file.
        data_root: folder of the data set.
        data_prefix: ``img_path`` is the image root, relative to ``data_root``.
        label_mask: config of a label mask, or None to see every label of the file.
        holdout: arguments of :func:`hold_out` (``part``, ``share``, ``seed``) to use only that part of the images, or
            None for all. The label mask is made for all images of the file, so it is the same with and without.
        fold: arguments of :func:`take_fold` (``part``, ``index``, ``number``, ``seed``), likewise; of what ``holdout``
            leaves.
        label_fold: arguments of :class:`~sarlp.datasets.label_folds.LabelFold` (``part``, ``index``, ``number``,
            ``seed``) to use only that part of the labels that the mask shows, of all the images.
        pipeline: transforms; as ``steps`` they are an attribute.
        seed: of the augmentation.
        on_bad_image: ``'raise'`` stops at an image that does not decode; ``'skip'`` puts the next image in its place
            while training, with a warning that counts. Testing always stops.
        kwargs: further arguments of MMEngine's BaseDataset.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: dict = dict(img_path=''),  # noqa: B006  BaseDataset copies it
        label_mask: dict | None = None,
        holdout: dict | None = None,
        fold: dict | None = None,
        label_fold: dict | None = None,
        pipeline: Sequence[dict | Callable] = (),
        seed: int = 0,
        on_bad_image: str = 'raise',
        **kwargs,
    ):
        if on_bad_image not in ('raise', 'skip'):
            raise UserError(f"on_bad_image must be 'raise' or 'skip', got {on_bad_image!r}")
        if kwargs.get('filter_cfg') is not None:
            raise UserError('filter_cfg: MultiLabelDataset filters nothing by it; use holdout, fold or indices')
        _check_paths(ann_file, data_root, data_prefix)
        self.label_mask = None if label_mask is None else LABEL_MASKS.build(label_mask)
        if not isinstance(self.label_mask, LabelMask | None):
            raise UserError(
                f'label_mask: {type(self.label_mask).__name__} is no label mask; make it a subclass of '
                'sarlp.datasets.label_masks.LabelMask, which defines known(image_id, labels)'
            )
        self.holdout = holdout
        self.fold = fold
        self.label_fold = None if label_fold is None else LabelFold(**label_fold)
        self.steps = tuple(pipeline)
        self.seed = seed
        self.on_bad_image = on_bad_image
        self._bad_images: set[str] = set()
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # persistent workers see it change
        self._occurrence: tuple[int, ...] = ()
        self._columns: list[int] | None = None  # of the file, in the order of the classes, where that is another
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, pipeline=pipeline, **kwargs)

    first_index = 0  # in a training set of several parts, another one for each

    @property
    def classes(self) -> tuple[str, ...]:
        return self._metainfo['classes']  # not metainfo, which copies all the names at each call

    @property
    def source(self) -> str:
        """What the data set is read from, for messages."""
        return str(self.ann_file)

    def set_epoch(self, epoch: int) -> None:
        """Called by :class:`~sarlp.engine.training.hooks.SeedHook` before each epoch."""
        self._epoch[0] = epoch

    def load_data_list(self) -> list[dict]:
        metainfo, data_list = load_annotation(self.ann_file)
        self._match_classes(metainfo['classes'])
        for key, value in metainfo.items():
            if key != GROUPS:  # which are of the images here, and no checkpoint needs
                self._metainfo.setdefault(key, value)
        check_images(Path(self.data_prefix['img_path']), data_list, self.ann_file)
        if self.label_mask is not None:  # in the order of the file, since a mask may know places and no names
            self.label_mask.bind(metainfo['classes'], str(self.ann_file), data_list)
        if self.label_fold is not None:
            self.label_fold.bind(metainfo['classes'])
        groups = groups_of(metainfo, self.ann_file)
        if self.holdout is not None:
            data_list = hold_out(data_list, **self.holdout, groups=groups)
        return data_list if self.fold is None else take_fold(data_list, **self.fold, groups=groups)

    def _match_classes(self, names: tuple[str, ...]) -> None:
        if 'classes' not in self._metainfo:
            return
        classes = check_names(self._metainfo['classes'], f'metainfo.classes for {self.source}')
        advice = 'metainfo.classes may put the classes of the file in another order, but must name them all'
        columns = columns_by_name(names, classes, self.source, 'metainfo.classes of the config', advice)
        self._metainfo['classes'] = classes
        self._columns = None if classes == names else columns

    @force_full_init
    def get_labels(self, idx: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        """Labels of an image without loading it.

        Returns:
            Image id; observed labels and labels of the file, (C,) int8 of 1 / 0 / -1 each; ignore mask (C,) bool.
        """
        entry = super().get_data_info(idx)
        full, ignore = labels_of(entry, len(self.classes))
        observed = full if self.label_mask is None else self.label_mask(entry['img_path'], full)
        if self.label_fold is not None:
            observed, full = self.label_fold(entry['img_path'], observed, full)
        if self._columns is not None:
            observed, full, ignore = observed[self._columns], full[self._columns], ignore[self._columns]
        return entry['img_path'], observed, full, ignore

    def image_id(self, idx: int) -> str:
        """The path of an image relative to the image root."""
        return super().get_data_info(idx)['img_path']

    def image_path(self, idx: int) -> Path:
        """The file of an image."""
        return Path(self.data_prefix['img_path']) / self.image_id(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes that an image is known to have, by which ``ClassBalancedDataset`` repeats it."""
        return np.flatnonzero(self.get_labels(idx)[1] == POSITIVE).tolist()

    def get_data_info(self, idx: int) -> dict:
        image_id, observed, full, ignore = self.get_labels(idx)
        info = dict(
            sample_idx=idx,
            index=self.first_index + idx,
            img_id=image_id,
            img_path=str(Path(self.data_prefix['img_path']) / image_id),
            gt_score=observed.astype(np.float32),
            ignore=ignore,
        )
        if self.test_mode:
            info['gt_score_full'] = full.astype(np.float32)
        return info

    def label_counts(self) -> dict[str, np.ndarray]:
        """See :func:`count_observed`."""
        return count_observed(self)

    def sample(self, idx: int, occurrence: tuple[int, ...]):
        """``self[idx]`` for a wrapper, in which the image may occur more than once.

        Args:
            idx: of the image.
            occurrence: which of them this is; each is augmented in its own way, and ``()`` as without a wrapper.
        """
        self._occurrence = occurrence
        try:
            return self[idx]
        finally:
            self._occurrence = ()

    def prepare_data(self, idx: int):
        info = self.get_data_info(idx)
        try:
            key = (self.seed, int(self._epoch), info['img_id'], *self._occurrence)
            if isinstance(self.pipeline, KeptTokens):  # draws nothing
                return self.pipeline({**info, 'seed_key': key})
            with seeded(*key):
                return self._packed(self.pipeline({**info, 'seed_key': key}), info['img_path'])
        except BadImageError as error:
            if self.test_mode:
                raise
            if self.on_bad_image == 'raise':
                raise BadImageError(
                    f'{error}, or train without it by train_dataloader.dataset.on_bad_image=skip'
                ) from error
            self._bad_images.add(info['img_path'])
            MMLogger.get_current_instance().warning(f'{error}; image {len(self._bad_images)} left out by this process')
            self._skipped = idx
            return None

    def _packed(self, sample, path: str):
        if sample is None:
            names = ' -> '.join(
                str(step.get('type')) if isinstance(step, Mapping) else str(step) for step in self.steps
            )
            raise UserError(
                f'{path}: the pipeline of {self.source} ({names}) gave nothing; each transform must return the sample'
            )
        return sample

    def _rand_another(self) -> int:
        return (self._skipped + 1) % len(self)  # the next image: no random number is spent on it
