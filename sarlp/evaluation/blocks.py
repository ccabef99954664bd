"""Scores and labels in pieces: read from memory or from disk, checked, in several threads, with bounded memory.

Scores of 125,436 images for 9,605 classes are 4.8 GB, so whatever is computed of them may look at a part only. Parts
are cut along the images (bands, in the order of the file) or along the classes. For the latter the rows of the file
are read and turned into one contiguous row a class, as many classes at once as a buffer of fixed size holds: columns
of a file by themselves would read every page of it again for each class.
"""

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

_TILE_PAIRS = 1 << 19  # (image, class) pairs looked at together: small enough for the cache
_TILE_ROWS = 255  # and few enough rows that a class's count in a tile fits a byte
_BAND_BYTES = 1 << 25  # scores of one task; pages of a file are let go after each
_BUFFER_BYTES = 1 << 28  # for scores and labels of a block of classes
_BUFFER_BYTES_DISK = 1 << 30  # each block reads the file once
_MAX_THREADS = 16  # bounds the memory of the tasks at work


class Tile(NamedTuple):
    """Pairs of some images and classes.

    Attributes:
        rows: which images.
        scores: (n, c) floating point, without NaN; may be a view of the input, so it is only read.
        labels: (n, c) int8 of 1 / 0 / -1.
    """

    rows: slice
    scores: np.ndarray
    labels: np.ndarray


class LabelledScores:
    """Scores beside labels, for reading in parts; the parts are checked when they are read.

    Args:
        scores: (N, C) floating point, no NaN, in memory or mapped from a file.
        targets: (N, C) of 1 / 0 / -1; likewise.
        ignore: (N, C) bool (or 0 / 1), True where the label is taken for unknown.
        observed: (N, C) of 1 / 0 / -1; a label that is known there is taken for unknown, so hidden ones remain.
        names: what targets and observed are called in an error.
        threads: threads to read and compute with; None for one a core that this process may use.

    Raises:
        ValueError: shapes that differ, scores that are not floating point; on reading, a NaN score or an illegal label.
    """

    def __init__(
        self,
        scores: np.ndarray,
        targets: np.ndarray,
        ignore: np.ndarray | None = None,
        observed: np.ndarray | None = None,
        names: tuple[str, str] = ('targets', 'observed'),
        threads: int | None = None,
    ) -> None:
        self._mappings = [found for found in map(_mapping, (scores, targets, ignore, observed)) if found is not None]
        self._scores = np.asarray(scores)
        self._labels = {
            name: np.asarray(labels)
            for name, labels in zip(names[::-1], (observed, targets), strict=True)
            if labels is not None
        }
        self._ignore = None if ignore is None else np.asarray(ignore)
        self._check_shapes()
        self.shape: tuple[int, int] = (len(self._scores), self._scores.shape[1])
        self.dtype = self._scores.dtype
        self.threads = _threads(threads)

    def bands(self, size: int | None = None) -> list[slice]:
        """The images in slices whose scores have at most ``size`` bytes (None: 32 MB), if one image has not more."""
        num_images, num_classes = self.shape
        step = max(1, (size or _BAND_BYTES) // max(1, num_classes * self._scores.itemsize))
        return [slice(start, min(start + step, num_images)) for start in range(0, num_images, step)]

    def tiles(self, band: slice, columns: slice | None = None) -> Iterator[Tile]:
        """A band of images piece by piece, at most 255 at a time; afterwards pages that were read from a file go."""
        columns = columns or slice(0, self.shape[1])
        step = max(1, min(_TILE_ROWS, _TILE_PAIRS // max(1, columns.stop - columns.start)))
        for start in range(band.start, band.stop, step):
            yield self._tile(slice(start, min(start + step, band.stop)), columns)
        for mapping in self._mappings:
            mapping.madvise(mmap.MADV_DONTNEED)

    def per_class(self, function: Callable[[np.ndarray, np.ndarray], Any]) -> list[Any]:
        """Results of a function for each class.

        Args:
            function: of a class's scores (N,) and labels (N,) int8, both contiguous. It may change them and must not
                keep them. It is called in several threads.
        """
        num_images, num_classes = self.shape
        size = _BUFFER_BYTES_DISK if self._mappings else _BUFFER_BYTES
        step = max(1, min(num_classes, size // max(1, num_images * (self.dtype.itemsize + 1))))
        scores = np.empty((step, num_images), self.dtype)
        labels = np.empty((step, num_images), np.int8)
        results: list[Any] = []
        for start in range(0, num_classes, step):
            columns = slice(start, min(start + step, num_classes))
            length = columns.stop - start

            def turn(band: slice, columns: slice = columns, length: int = length) -> None:
                for tile in self.tiles(band, columns):
                    scores[:length, tile.rows] = tile.scores.T
                    labels[:length, tile.rows] = tile.labels.T

            def measure(rows: range) -> list[Any]:
                return [function(scores[row], labels[row]) for row in rows]

            for _ in self.map(turn, self.bands()):
                pass
            share = -(-length // (8 * self.threads))
            for some in self.map(measure, [range(i, min(i + share, length)) for i in range(0, length, share)]):
                results += some
        return results

    def map(self, function: Callable, tasks: Sequence) -> Iterator[Any]:
        """``map`` in threads: numpy's loops and sorts run beside each other. Results come in the order of the tasks."""
        if self.threads == 1 or len(tasks) < 2:
            yield from map(function, tasks)
            return
        with ThreadPoolExecutor(self.threads) as executor:
            try:
                yield from executor.map(function, tasks)
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise

    def _tile(self, rows: slice, columns: slice) -> Tile:
        scores = self._scores[rows, columns]
        if np.isnan(scores).any():
            self._name_nan()
        labels, *further = (self._read(name, rows, columns) for name in self._labels)
        for read in further:
            labels = np.where(labels == UNKNOWN, read, np.int8(UNKNOWN))
        if self._ignore is not None:
            ignore = self._ignore[rows, columns]
            if ignore.dtype != bool and ((ignore != 0) & (ignore != 1)).any():
                raise ValueError('ignore must hold only True and False, or 1 and 0')
            labels = np.where(ignore, np.int8(UNKNOWN), labels)
        return Tile(rows, scores, labels)

    def _read(self, name: str, rows: slice, columns: slice) -> np.ndarray:
        read = self._labels[name][rows, columns]
        if not _legal(read):
            self._name_illegal(name)
        return read.astype(np.int8, copy=False)

    def _check_shapes(self) -> None:
        scores = self._scores
        if scores.ndim != 2:
            raise ValueError(f'scores must have the shape (images, classes), but have {scores.shape}')
        if not np.issubdtype(scores.dtype, np.floating):
            raise ValueError(f'scores must be floating point, but are {scores.dtype}')
        for name, labels in self._labels.items():
            if labels.shape != scores.shape:
                raise ValueError(f'{name} must have the shape of the scores {scores.shape}, but have {labels.shape}')
        if self._ignore is not None and self._ignore.shape != scores.shape:
            raise ValueError(f'ignore must have the shape of the scores {scores.shape}, but has {self._ignore.shape}')

    def _first(self, array: np.ndarray, bad: Callable) -> tuple[int, int]:
        """Image and class of the first bad entry; threads come upon bad entries in any order."""
        for band in self.bands():
            found = np.argwhere(bad(array[band]))
            if len(found):
                return band.start + int(found[0, 0]), int(found[0, 1])
        raise AssertionError('called although nothing is bad')

    def _name_nan(self) -> None:
        image, column = self._first(self._scores, np.isnan)
        raise ValueError(f'scores hold a NaN, first at image {image}, class {column}')

    def _name_illegal(self, name: str) -> None:
        image, column = self._first(self._labels[name], illegal_labels)
        raise ValueError(
            f'{name} must be {POSITIVE} (positive), {NEGATIVE} (negative) or {UNKNOWN} (unknown), but hold '
            f'{self._labels[name][image, column]} at image {image}, class {column}'
        )


def _legal(labels: np.ndarray) -> bool:
    if labels.dtype.kind in 'iu' and labels.size:  # whole numbers: the codes are the three from UNKNOWN to POSITIVE
        return bool(labels.min() >= UNKNOWN and labels.max() <= POSITIVE)
    return not illegal_labels(labels).any()


def illegal_labels(labels: np.ndarray) -> np.ndarray:
    """True where an entry is none of the label codes; bool of the same shape."""
    return (labels != POSITIVE) & (labels != NEGATIVE) & (labels != UNKNOWN)


def _threads(threads: int | None) -> int:
    if threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        return min(cores, _MAX_THREADS)
    if int(threads) != threads or threads < 1:
        raise ValueError(f'threads must be None or a whole number of at least 1, but is {threads!r}')
    return int(threads)


def _mapping(array: Any) -> mmap.mmap | None:
    """The mapped file below an array, if its pages can be dropped and come back as they were.

    The pages of a file count as memory of the process as soon as they are read. They can be dropped at any time, unless
    the mapping is a private one that may have been written to.
    """
    shared = False
    while isinstance(array, np.ndarray):
        shared |= isinstance(array, np.memmap) and array.mode != 'c'
        array = array.base
    usable = shared and isinstance(array, mmap.mmap) and hasattr(mmap, 'MADV_DONTNEED')
    return array if usable else None
