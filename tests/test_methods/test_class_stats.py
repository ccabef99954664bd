import numpy as np
import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods import TaskInfo
from sarlp.methods.class_stats import class_prior


def task(positive, negative):
    classes = tuple('abcdefg'[: len(positive)])
    return TaskInfo(classes, 97, np.array(positive, np.int64), np.array(negative, np.int64))


def test_equals_its_formula():
    positive, negative, strength = [5, 0, 31, 0, 2], [17, 0, 11, 43, 1], 7.0
    pooled = (38 + 1) / (38 + 72 + 2)
    expected = [(p + strength * pooled) / (p + n + strength) for p, n in zip(positive, negative, strict=True)]
    prior = class_prior(task(positive, negative), strength)
    assert prior.dtype == torch.float32
    assert prior.tolist() == pytest.approx(expected, rel=1e-6)
    assert prior[1] == pytest.approx(pooled)  # of a class of which nothing is known


def test_many_labels_outweigh_the_pool():
    prior = class_prior(task([70_000, 3], [30_000, 11]))
    assert prior[0] == pytest.approx(0.7, abs=1e-3)
    assert 3 / 14 < prior[1] < 0.7


def test_is_never_0_or_1():
    prior = class_prior(task([0, 0], [13, 1_000_000]))
    assert ((prior > 0) & (prior < 1)).all()


def test_known_positives_alone_tell_no_share():
    with pytest.raises(UserError, match='7 positives are known and no negative. Give the number to the method'):
        class_prior(task([5, 2], [0, 0]))
    with pytest.raises(ValueError, match='strength must be > 0, got 0'):
        class_prior(task([5], [2]), 0)
