import hashlib
import math

import numpy as np
import pytest

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN, class_keys, hide_labels, uniform_numbers

CLASSES = tuple(f'class {index}' for index in range(13))
MASK = 2**64 - 1


def slow_number(seed, image_id, name):
    """Integers of any size instead of uint64: BLAKE2b of the parts, then the finaliser of splitmix64."""

    def digest(*parts):
        data = '\0'.join(parts).encode()
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), 'little')

    x = digest('class', name) ^ digest('image', str(seed), image_id)
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    x ^= x >> 31
    return (x >> 11) / 2**53


def grid(seed, images=1009):
    keys = class_keys(CLASSES)
    return np.stack([uniform_numbers(seed, f'JPEGImages/{index:06d}.jpg', keys) for index in range(images)])


def test_codes():
    assert (POSITIVE, NEGATIVE, UNKNOWN) == (1, 0, -1)


@pytest.mark.parametrize('seed', [0, 7, -3, 2**70])
@pytest.mark.parametrize('image_id', ['a.jpg', 'JPEGImages/000005.jpg', 'ü/猫.png'])
def test_numbers_equal_a_slow_loop(seed, image_id):
    names = ('cat', 'dining table', 'Hündin', '猫', 'tv/monitor')
    actual = uniform_numbers(seed, image_id, class_keys(names))
    assert actual.dtype == np.float64
    assert actual.tolist() == [slow_number(seed, image_id, name) for name in names]


def test_pinned_numbers():
    # exported masks and published results depend on them: they must never change
    actual = uniform_numbers(0, 'JPEGImages/000005.jpg', class_keys(('aeroplane', 'chair', 'tvmonitor')))
    assert actual.tolist() == [0.17640904065155405, 0.4870301889736738, 0.7715909493334675]


def test_range_and_uniformity():
    numbers = grid(0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    cells = 101
    for values in (numbers, *numbers.T):  # all together, and each class by itself
        counts = np.histogram(values, cells, (0, 1))[0]
        expected = values.size / cells
        chi_square = ((counts - expected) ** 2 / expected).sum()
        # mean cells - 1, deviation sqrt(2 (cells - 1)); numbers that are too even would be as suspicious
        assert abs(chi_square - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1))


def test_independence_of_seed_image_and_class():
    numbers, other = grid(0), grid(1)
    bound = 5 / math.sqrt(len(numbers))
    pairs = np.corrcoef(numbers.T) - np.eye(len(CLASSES))
    assert abs(pairs).max() < bound  # between classes
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < bound  # neighbouring images
    assert abs(np.corrcoef(numbers.ravel(), other.ravel())[0, 1]) < bound  # seeds
    # XOR of two hashes could repeat a number where two images and two classes differ by the same bits
    assert len(np.unique(np.concatenate([numbers, other]))) == 2 * numbers.size


def test_joint_law_of_known_labels():
    # how many labels of an image are known at p = 0.3 must be binomial
    counts = np.bincount((grid(3) < 0.3).sum(1), minlength=len(CLASSES) + 1)
    size = len(CLASSES)
    law = [math.comb(size, k) * 0.3**k * 0.7 ** (size - k) for k in range(size + 1)]
    for count, chance in zip(counts, law, strict=True):
        assert abs(count - 1009 * chance) < 5 * math.sqrt(1009 * chance) + 2


def test_order_of_classes_does_not_matter():
    order = np.random.default_rng(5).permutation(len(CLASSES))
    straight = uniform_numbers(4, 'x.jpg', class_keys(CLASSES))
    permuted = uniform_numbers(4, 'x.jpg', class_keys([CLASSES[index] for index in order]))
    assert permuted.tolist() == straight[order].tolist()
    assert uniform_numbers(4, 'x.jpg', class_keys(CLASSES[3:5])).tolist() == straight[3:5].tolist()


def test_parts_are_kept_apart():
    # '1' + '2.jpg' is not '12' + '.jpg'
    keys = class_keys(CLASSES)
    assert not np.array_equal(uniform_numbers(1, '2.jpg', keys), uniform_numbers(12, '.jpg', keys))


def test_hide_labels():
    labels = np.array([1, 1, 0, 0, -1, -1, 1], np.int8)
    known = np.array([1, 0, 1, 0, 1, 0, 1], bool)
    hidden = hide_labels(labels, known)
    assert hidden.tolist() == [1, -1, 0, -1, -1, -1, 1]
    assert hidden.dtype == np.int8
    assert labels.tolist() == [1, 1, 0, 0, -1, -1, 1]
