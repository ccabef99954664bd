"""Which of very many images look alike, without a look at each pair of them.

A pair is alike if its hashes of 64 bits differ in few bits and its thumbnails correlate. Parted in seven, the bits of
such a pair are the same in at least three parts. So only images that have three parts in common are compared: of images
that are not alike hardly any.

Where many share them, as the frames of a camera that stands still do, there may be as many pairs as images squared.
There each image is tied to one that it is alike to, which puts the same images together.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

BITS = 4  # that may differ
ALIKE = 0.95  # least correlation of two thumbnails
_PARTS = 7
_ALL_PAIRS = 64  # images with the same parts, of which each pair is looked at
_AT_ONCE = 4096  # pairs that are correlated together, 32 MB of thumbnails; and hashes compared with each other
_FRONT = 64  # images that are compared with all that are left
_ONES = np.array([bin(byte).count('1') for byte in range(256)], np.uint8)


def alike_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that are alike: all of them, but for those in a crowd of more than 64, which they keep together.

    Args:
        hashes: (N, 64) bool.
        thumbnails: (N, T) uint8, none of them of one value.

    Returns:
        Sorted pairs of places, the lower one first. Two images that are alike are in a pair, or tied by a row of pairs.
    """
    packed = np.packbits(hashes, axis=1)
    images = _Images(packed, thumbnails)
    parts = np.array_split(np.arange(hashes.shape[1]), _PARTS)
    found: set[tuple[int, int]] = set()
    for chosen in combinations(parts, _PARTS - BITS):
        own = np.packbits(hashes[:, np.concatenate(chosen)], axis=1)
        key = np.zeros((len(own), 8), np.uint8)
        key[:, : own.shape[1]] = own
        keys = key.view(np.uint64)[:, 0]
        order = np.argsort(keys, kind='stable')
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        starts, stops = np.concatenate([[0], bounds]), np.concatenate([bounds, [len(order)]])
        for first, second in _pairs_in_runs(order, starts, stops):
            found.update(images.alike(first, second))
        for start, stop in zip(*(ends[stops - starts > _ALL_PAIRS].tolist() for ends in (starts, stops)), strict=True):
            found.update(images.ties(order[start:stop]))
    return sorted(found)


def _pairs_in_runs(order: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of images of one run, of those that are no crowd: some of them at a time, the lower image first."""
    sizes = stops - starts
    size_at = np.repeat(np.where(sizes <= _ALL_PAIRS, sizes, 0), sizes)
    last_at = np.repeat(stops, sizes) - 1
    places = np.flatnonzero(size_at > 1)
    for apart in range(1, _ALL_PAIRS):
        places = places[places + apart <= last_at[places]]
        if not len(places):
            return
        for some in np.array_split(places, -(-len(places) // _AT_ONCE)):
            yield order[some], order[some + apart]  # of one key the order is that of the images


class _Images:
    """Args: (N, 8) uint8 of bits; (N, T) uint8."""

    def __init__(self, packed: np.ndarray, thumbnails: np.ndarray) -> None:
        self._packed, self._thumbnails = packed, thumbnails

    def alike(self, first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
        """Of pairs those that are alike."""
        near = _ONES[self._packed[first] ^ self._packed[second]].sum(axis=1) <= BITS
        first, second = first[near], second[near]
        same = (self._values(first) * self._values(second)).sum(axis=1) >= ALIKE
        return list(zip(first[same].tolist(), second[same].tolist(), strict=True))

    def ties(self, members: np.ndarray) -> Iterator[tuple[int, int]]:
        """Of each of many images but the first that it is reached from one that it is alike to.

        Whoever is reached is left out of what is compared further, so that images which are all alike cost one
        comparison each.
        """
        left = members
        front = members[:0]
        while len(left):
            if not len(front):
                front, left = left[:1], left[1:]
            now, front = front[:_FRONT], front[_FRONT:]
            reached = np.zeros(len(left), bool)
            for begin in range(0, len(left), _AT_ONCE):
                those = left[begin : begin + _AT_ONCE]
                near = _ONES[self._packed[now][:, None] ^ self._packed[those]].sum(axis=2) <= BITS
                columns = np.flatnonzero(near.any(axis=0))
                same = near[:, columns] & (self._values(now) @ self._values(those[columns]).T >= ALIKE)
                for column in np.flatnonzero(same.any(axis=0)):
                    one, other = int(now[same[:, column].argmax()]), int(those[columns[column]])
                    yield min(one, other), max(one, other)
                    reached[begin + columns[column]] = True
            front, left = np.concatenate([front, left[reached]]), left[~reached]

    def _values(self, places: np.ndarray) -> np.ndarray:
        """(n, T) float32 of mean 0 and length 1."""
        values = self._thumbnails[places].astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        return values / np.linalg.norm(values, axis=1, keepdims=True)
