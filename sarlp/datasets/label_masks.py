"""Label masks: which labels of the training images may be seen. The protocols of the field as registered components.

A mask is a pure function of (seed, image id, class), see :mod:`sarlp.labels`; nothing is drawn while training.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sarlp.datasets.annotation import labels_of
from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.npz_file import read_npz
from sarlp.io.outputs import check_output, loads
from sarlp.labels import POSITIVE, UNKNOWN, class_keys, hide_labels, uniform_numbers
from sarlp.names.class_names import columns_by_name
from sarlp.registry import LABEL_MASKS

_PROBES = 8  # images by which a mask shows that it draws anew each time


class LabelMask:
    """Base of the masks.

    A subclass defines :meth:`known`. :meth:`bind` is called once by the data set.
    """

    _asked = 0  # images of which it was asked twice

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        """Take what the mask depends on beyond the image at hand.

        Args:
            classes: C names in the order of the labels.
            source: the annotation file, for messages.
            data_list: its entries, all of them and in its order.
        """
        self.classes = tuple(classes)

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        """Which labels may be seen.

        Args:
            image_id: path relative to the image root, forward slashes.
            labels: (C,) of 1 / 0 / -1, complete or as far as the data are.

        Returns:
            (C,) bool.
        """
        raise TypeError(f'{type(self).__name__} has no known(image_id, labels); a label mask defines it')

    def __call__(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        """Returns (C,) labels with those outside the mask made unknown.

        Raises:
            UserError: the mask of a subclass is none, or another one when it is asked again.
        """
        known = self._ask(image_id, labels)
        if self._asked < _PROBES:
            self._asked += 1
            if not np.array_equal(known, self._ask(image_id, labels)):
                raise UserError(
                    f'label_mask: {type(self).__name__} says of the image {image_id} first one thing and then another; '
                    'what is known must not change within a run. Draw by SeededMask.uniform(image_id)'
                )
        return hide_labels(labels, known)

    def _ask(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        shown = labels.view()
        shown.flags.writeable = False  # they are those of the data set
        known = np.asarray(self.known(image_id, shown))
        if known.dtype != np.bool_ or known.shape != labels.shape:
            raise UserError(
                f'label_mask: {type(self).__name__}.known must say True or False of each of the {len(labels)} labels, '
                f'an array of bool of the shape {labels.shape}; for the image {image_id} it gave one of '
                f'{known.dtype} of the shape {known.shape}'
            )
        return known


class SeededMask(LabelMask):
    """A mask drawn from one uniform number per (seed, image id, class)."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        super().bind(classes, source, data_list)
        self._keys = class_keys(classes)

    def uniform(self, image_id: str) -> np.ndarray:
        """(C,) float64 in [0, 1)."""
        return uniform_numbers(self.seed, image_id, self._keys)


def check_share(name: str, share: float) -> float:
    """The share of labels that an argument gives, refused unless it is in (0, 1]."""
    if not 0 < share <= 1:
        raise UserError(f'label_mask.{name} must be in (0, 1], got {share!r}')
    return share


@LABEL_MASKS.register_module()
class RandomKnownLabels(SeededMask):
    """Each label is known with probability ``known_ratio``, independently.

    The number drawn for a label does not depend on the ratio, so what is known at 0.1 is known at 0.2 as well.

    Args:
        known_ratio: p in (0, 1].
        seed: any integer.
    """

    def __init__(self, known_ratio: float, seed: int = 0):
        super().__init__(seed)
        self.known_ratio = check_share('known_ratio', known_ratio)

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return self.uniform(image_id) < self.known_ratio


@LABEL_MASKS.register_module()
class SinglePositive(SeededMask):
    """One positive label of each image is known, nothing else (Cole et al., CVPR 2021)."""

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        number = np.where(labels == POSITIVE, self.uniform(image_id), np.inf)
        known = np.zeros(len(labels), bool)
        known[number.argmin()] = np.isfinite(number).any()
        return known


@LABEL_MASKS.register_module()
class PositivesOnly(SeededMask):
    """Each positive label is known with probability ``share``, no negative one is.

    Args:
        share: q in (0, 1].
        seed: any integer.
    """

    def __init__(self, share: float, seed: int = 0):
        super().__init__(seed)
        self.share = check_share('share', share)

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return (labels == POSITIVE) & (self.uniform(image_id) < self.share)


@LABEL_MASKS.register_module()
class SeenIsWritten(SeededMask):
    """Positive labels are known with another probability than negative ones, as where people write down what they see.

    Args:
        positives, negatives: these probabilities, in (0, 1].
        seed: any integer.
    """

    def __init__(self, positives: float, negatives: float, seed: int = 0):
        super().__init__(seed)
        self.positives, self.negatives = check_share('positives', positives), check_share('negatives', negatives)

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return self.uniform(image_id) < np.where(labels == POSITIVE, self.positives, self.negatives)


@LABEL_MASKS.register_module()
class PerClassBudget(SeededMask):
    """Each class is known for exactly ``budget`` images, or for all where it is if those are fewer.

    The images are those with the smallest numbers drawn, so what is known with a budget is known with a larger one as
    well. A label that is unknown in the data costs nothing of the budget.

    Args:
        budget: number of images, at least 1.
        seed: any integer.
    """

    def __init__(self, budget: int, seed: int = 0):
        super().__init__(seed)
        if type(budget) is not int or budget < 1:
            raise UserError(f'label_mask.budget must be a whole number of images, at least 1, got {budget!r}')
        self.budget = budget

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        super().bind(classes, source, data_list)
        self._limit = np.ones(len(classes))
        if self.budget < len(data_list):
            numbers = np.empty((len(data_list), len(classes)))
            for row, entry in zip(numbers, data_list, strict=True):
                unknown = labels_of(entry, len(classes))[0] == UNKNOWN
                row[:] = np.where(unknown, 1, self.uniform(entry['img_path']))
            numbers.partition(self.budget - 1, axis=0)
            self._limit = numbers[self.budget - 1]

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return (labels != UNKNOWN) & (self.uniform(image_id) <= self._limit)


@LABEL_MASKS.register_module()
class FileLabelMask(LabelMask):
    """A mask read from a file written by :func:`save_label_mask`; image order and class order do not matter.

    Args:
        file: ``.npz``.
    """

    def __init__(self, file: str | Path):
        self.file = Path(file)

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        super().bind(classes, source, data_list)
        image_ids, file_classes, known = load_label_mask(self.file)
        columns = columns_by_name(file_classes, classes, self.file, source, 'Use a mask exported from this data set')
        self._rows = dict(zip(image_ids, known[:, columns], strict=True))

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        if image_id not in self._rows:
            raise UserError(f'{self.file}: has no mask for the image {image_id}; export the mask from this data set')
        return self._rows[image_id]


def _checksum(image_ids: Sequence[str], classes: Sequence[str], bits: np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in ('\n'.join(image_ids), '\n'.join(classes)):
        digest.update(part.encode('utf-8') + b'\0')
    digest.update(bits.tobytes())
    return digest.hexdigest()


def save_label_mask(path: str | Path, image_ids: Sequence[str], classes: Sequence[str], known: np.ndarray) -> str:
    """Write a mask for use elsewhere.

    Args:
        path: ``.npz`` to write; replaced as a whole or not at all.
        image_ids: N ids.
        classes: C names.
        known: (N, C) bool.

    Returns:
        The SHA-256 checksum over ids, names and mask, which is also in the file.
    """
    if known.shape != (len(image_ids), len(classes)):
        raise ValueError(f'known must be ({len(image_ids)}, {len(classes)}), got {known.shape}')
    bits = np.packbits(np.asarray(known, bool), axis=1)
    checksum = _checksum(image_ids, classes, bits)
    check_output(path, (), loads(load_label_mask))
    with atomic_write(path, 'wb') as stream:
        np.savez_compressed(
            stream, image_ids=np.array(image_ids), classes=np.array(classes), known=bits, sha256=np.array(checksum)
        )
    return checksum


def load_label_mask(path: str | Path) -> tuple[list[str], list[str], np.ndarray]:
    """Read a mask written by :func:`save_label_mask`.

    Returns:
        Image ids (N), class names (C), and the mask (N, C) bool.

    Raises:
        UserError: no such file, no mask file, or its checksum is wrong.
    """
    try:
        content = read_npz(path, ('image_ids', 'classes', 'known', 'sha256'))
        image_ids, classes = content['image_ids'].tolist(), content['classes'].tolist()
        bits, checksum = content['known'], str(content['sha256'])
        for name, found in (('image_ids', image_ids), ('classes', classes)):
            if content[name].dtype.kind != 'U' or content[name].ndim != 1 or len(set(found)) != len(found):
                raise ValueError(f'expected "{name}" to be a list of different texts')
        if bits.dtype != np.uint8 or bits.shape != (len(image_ids), -(-len(classes) // 8)):
            raise ValueError(f'"known" does not fit to {len(image_ids):,} images and {len(classes):,} classes')
        correct = _checksum(image_ids, classes, bits) == checksum
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such label mask; sarlp convert mask exports one') from error
    except Exception as error:  # a zip, npy or text error, by what is broken
        raise UserError(
            f'{path}: is no label mask ({str(error).strip() or type(error).__name__}); sarlp convert mask exports one'
        ) from error
    if not correct:
        raise UserError(f'{path}: the checksum does not fit the content; export or copy the mask again')
    return image_ids, classes, np.unpackbits(bits, axis=1, count=len(classes)).astype(bool)


def export_label_mask(path: str | Path, dataset) -> tuple[str, np.ndarray]:
    """Write which labels of a data set may be seen.

    Args:
        path: ``.npz`` to write.
        dataset: a :class:`~sarlp.datasets.multilabel.MultiLabelDataset`, or some in a ``ConcatDataset``; labels that
            are unknown in the file are unknown in the mask.

    Returns:
        The checksum of :func:`save_label_mask`, and the mask (N, C) bool.
    """
    image_ids, observed, *_ = zip(*(dataset.get_labels(i) for i in range(len(dataset))), strict=True)
    repeated = [name for name, number in Counter(image_ids).items() if number > 1]
    if repeated:
        raise UserError(
            f'{len(repeated)} image paths are in more than one of {dataset.source}, and a mask knows images by their '
            f'paths: {shorten(repeated)}. Export the mask of each by itself'
        )
    known = np.stack(observed) != UNKNOWN
    return save_label_mask(path, image_ids, dataset.classes, known), known
