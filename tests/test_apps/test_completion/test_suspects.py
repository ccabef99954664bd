"""Suspects against a loop over the labels."""

import math

import numpy as np
import pytest

from sarlp.apps.completion.scoring import Scored
from sarlp.apps.completion.suspects import can_be_judged, doubts, find_suspects

IMAGES, CLASSES = 31, ('cat', 'dog', 'sofa', 'tree', 'boat')


@pytest.fixture
def scored():
    random = np.random.default_rng(0)
    observed = random.integers(-1, 2, (IMAGES, len(CLASSES))).astype(np.int8)
    scores = random.random(observed.shape, np.float32)
    return Scored([f'{i}.jpg' for i in range(IMAGES)], scores, observed, observed)


def test_doubts(scored):
    found = doubts(scored.scores, scored.observed)
    for row, column in np.ndindex(found.shape):
        label, score = scored.observed[row, column], scored.scores[row, column]
        expected = {1: 1 - score, 0: score, -1: math.nan}[label]
        assert found[row, column] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize('most', [0.0, 0.1, 0.3, 0.49])
def test_who_is_suspect_and_in_which_order(scored, most):
    """The calibrated probability says who, the score in which order; here they rank differently."""
    probabilities = np.where(np.arange(IMAGES)[:, None] % 2, scored.scores, scored.scores**3).astype(np.float64)
    evidence = {image: f'fold {i % 3 + 1} of 3' for i, image in enumerate(scored.image_ids)}
    judged = np.random.default_rng(1).random(probabilities.shape) < 0.8
    expected = []
    for row, image in enumerate(scored.image_ids):
        for column, name in enumerate(CLASSES):
            if not judged[row, column]:
                continue
            label, p, score = (float(a[row, column]) for a in (scored.observed, probabilities, scored.scores))
            if label == 1 and p <= most:
                expected.append((image, name, 'positive', p, 1 - score, evidence[image]))
            if label == 0 and 1 - p <= most:
                expected.append((image, name, 'negative', p, score, evidence[image]))
    expected.sort(key=lambda suspect: -suspect[4])
    found = find_suspects(scored, probabilities, CLASSES, most, evidence, judged)
    assert [suspect[:3] + suspect[5:] for suspect in found] == [suspect[:3] + suspect[5:] for suspect in expected]
    np.testing.assert_allclose([s[3:5] for s in found] or [(0, 0)], [s[3:5] for s in expected] or [(0, 0)], rtol=1e-6)
    assert bool(found) == (most > 0)
    by_probability = sorted(found, key=lambda s: s.probability if s.label == 'positive' else 1 - s.probability)
    assert most < 0.3 or by_probability != found


def test_a_model_that_has_seen_no_other_judges_nothing():
    random = np.random.default_rng(0)
    fold = random.integers(0, 3, IMAGES)
    observed = random.choice([-1, 0, 1], (IMAGES, 5), p=[0.5, 0.4, 0.1]).astype(np.int8)
    observed[:, 0] = -1
    observed[7, 0] = 1  # the only one that is known
    observed[fold != 2, 1] = -1
    judged = can_be_judged(observed, fold)
    for row, column in np.ndindex(judged.shape):
        like = [
            other
            for other in range(IMAGES)
            if fold[other] != fold[row] and observed[other, column] == observed[row, column]
        ]
        assert judged[row, column] == (observed[row, column] >= 0 and len(like) > 0)
    assert not judged[7, 0] and not judged[:, 1].any() and judged[:, 2:].any()
