"""Images that look alike are found among very many without a look at each pair."""

import numpy as np
import pytest

from sarlp.datasets import alike
from sarlp.datasets.alike import alike_pairs
from sarlp.datasets.groups import join_groups


def drawn(number, kinds, seed=0, noise=20):
    """Hashes and thumbnails of images of some kinds; of one kind they differ in few bits, some in too many."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(kinds, size=number)
    hashes = (rng.random((kinds, 64)) < 0.5)[kind] ^ (rng.random((number, 64)) < 0.03)
    thumbnails = rng.integers(0, 256, (kinds, 256))[kind] + rng.integers(-noise, noise + 1, (number, 256))
    return hashes, thumbnails.clip(0, 255).astype(np.uint8)


def every_pair(hashes, thumbnails):
    values = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    near = (hashes[:, None] != hashes).sum(axis=2) <= alike.BITS
    return {(i, j) for i, j in np.argwhere(near & (values @ values.T >= alike.ALIKE)).tolist() if i < j}


@pytest.mark.parametrize('seed', range(3))
def test_the_pairs_are_those_of_a_look_at_each(seed):
    images = drawn(300, 40, seed)
    assert alike_pairs(*images) == sorted(every_pair(*images))
    assert len(alike_pairs(*images)) > 20


@pytest.mark.parametrize('kinds', [1, 3])
def test_of_a_crowd_the_same_images_are_together_by_fewer_pairs(kinds):
    images = drawn(700, kinds)
    found, every = alike_pairs(*images), every_pair(*images)
    names = [f'{number:03}' for number in range(700)]

    def together(pairs):
        return join_groups(names, [(names[i], names[j]) for i, j in pairs])

    assert together(found) == together(every)
    assert {*found} < every


def looked_at(monkeypatch, images):
    """How many thumbnails were taken up to be compared."""
    taken = []
    values = alike._Images._values
    monkeypatch.setattr(alike._Images, '_values', lambda self, of: taken.append(len(of)) or values(self, of))
    alike_pairs(*images)
    return sum(taken)


def test_of_frames_of_one_scene_the_work_grows_as_their_number(monkeypatch):
    hashes, thumbnails = drawn(4000, 1)
    hashes[:] = hashes[0]
    assert len(alike_pairs(hashes, thumbnails)) == 3999
    few, many = (looked_at(monkeypatch, (hashes[:number], thumbnails[:number])) for number in (1000, 4000))
    assert many < 4.5 * few


def test_what_is_not_alike_is_hardly_compared(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.random((20_000, 64)) < 0.5, rng.integers(0, 256, (20_000, 64), np.uint8)
    assert looked_at(monkeypatch, images) < 20  # of 200 million pairs
