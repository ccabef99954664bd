"""How known labels were selected: found again where it is known, and made up for."""

import numpy as np
import pytest
from scipy.special import expit, logit

from sarlp.apps.completion import calibrate, decision_quality
from sarlp.evaluation.calibration import Calibration
from sarlp.evaluation.selection import Selection, estimate_selection, say_selection, shift_odds

from .test_calibration import CLASSES, synthetic


def selected(positives, negatives, seed=0, images=1201):
    """Scores, labels of which these shares are known, truth, and the log odds ratio of that."""
    scores, _, truth = synthetic(images=images, seed=seed)
    chance = np.where(truth == 1, positives, negatives)
    labels = np.where(np.random.default_rng(seed + 100).random(truth.shape) < chance, truth, -1).astype(np.int8)
    return scores, labels, truth, logit(positives) - logit(negatives)


def exact(scores):
    return expit(1.7 * logit(scores) + np.array([-1.5, 0.3, -0.8, 1.1, 0.0]))


def estimate(scores, labels, true_odds=0.0, groups=None):
    """From the probabilities that known labels have, with calibrations that know the truth."""
    p = shift_odds(exact(scores), -true_odds)
    pool = np.where(labels < 0, p, np.nan)
    return estimate_selection(p, labels, pool, np.arange(len(scores)) if groups is None else groups)


@pytest.mark.parametrize(('positives', 'negatives'), [(0.3, 0.05), (0.5, 0.1), (0.05, 0.2), (0.1, 0.1), (0.4, 0.4)])
def test_it_is_found_again(positives, negatives):
    inside = 0
    for seed in range(5):
        scores, labels, _, true_odds = selected(positives, negatives, seed)
        # logit(k) - logit(u): the odds of being known, and those of not being so
        true_odds = np.log(positives / negatives) - np.log((1 - positives) / (1 - negatives))
        found = estimate(scores, labels, np.log(positives / negatives))
        assert abs(found.log_odds - true_odds) < 0.45
        inside += found.low <= true_odds <= found.high
        if positives == negatives:
            assert found.shift == 0
        else:
            assert found.shift == found.log_odds and 0 < found.shift / true_odds < 1.25
    assert inside >= 4


def test_equals_a_slow_search():
    scores, labels, _, _ = selected(0.3, 0.1)
    scores, labels = scores[:97], labels[:97]
    found = estimate(scores, labels)
    p, total, s1, s0, blanks = exact(scores), 0.0, [], [], np.zeros(5)
    shares = np.array([((column == 1).sum() + 0.5) / ((column >= 0).sum() + 1) for column in labels.T])
    for row, known in zip(p, labels, strict=True):
        for c in range(5):
            s = expit(logit(row[c]) - logit(shares[c]))
            if known[c] < 0:
                total, blanks[c] = total + s, blanks[c] + 1
            else:
                (s1 if known[c] else s0).append(s)
    grid = np.linspace(-5.5, 5.5, 11_001)
    means = [
        sum(
            n * (u * np.mean(s1) + (1 - u) * np.mean(s0)) for n, u in zip(blanks, expit(logit(shares) - x), strict=True)
        )
        for x in grid
    ]
    assert abs(found.log_odds - grid[np.abs(np.array(means) - total).argmin()]) < 1e-3
    np.testing.assert_allclose(found.shares, shares)


def test_weights_make_known_labels_stand_for_the_others():
    rng = np.random.default_rng(0)
    truth = (rng.random((100_003, 2)) < (0.3, 0.6)).astype(np.int8)
    known = rng.random(truth.shape) < np.where(truth == 1, 0.4, 0.1)
    labels = np.where(known, truth, -1)
    shares = np.array([(column == 1).sum() / (column >= 0).sum() for column in labels.T])
    odds = np.log(0.4 / 0.1) - np.log(0.6 / 0.9)
    weights = Selection(odds, odds, odds, shares).weights(labels)
    assert (weights[~known] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), known.sum(axis=0))
    for c in range(2):
        np.testing.assert_allclose(
            weights[labels[:, c] == 1, c].sum() / weights[:, c].sum(), truth[~known[:, c], c].mean(), atol=0.01
        )


@pytest.mark.parametrize(
    ('interval', 'shift'),
    [((-0.2, 2), 0), ((0.3, 2), 0), ((0.5, 2), 1.25), ((-2, -0.7), -1.35), ((-2, -0.4), 0), ((0, 3), 0), ((-6, 6), 0)],
)
def test_what_is_taken_into_account(interval, shift):
    found = Selection(np.mean(interval), *interval, np.array([0.5]))
    assert found.shift == shift
    said = say_selection(found.to_json(), 0.9)
    assert (said is None) == (shift == 0)
    if said:
        times = f'{np.exp(abs(shift)):.2g} times'
        assert f'odds of a {"yes" if shift > 0 else "no"} to be known are about {times}' in said
    assert say_selection(None, 0.9) is None


@pytest.mark.parametrize('worst', [0.62, 0.79, 0.81, np.nan])
def test_what_may_be_is_said_where_it_would_be_much_worse(worst):
    fair, lopsided = (Selection(1.0, low, np.log(20), np.array([0.5])).to_json() for low in (-0.1, 0.9))
    for found in (fair, lopsided):
        said = say_selection({**found, 'at_worst': worst}, 0.9)
        assert (f'20 times, about {worst:.0%} of' in str(said)) == (found is lopsided and worst < 0.8)
        assert (f'20 times those of a no, and then about {worst:.0%} of' in str(said)) == (
            found is fair and worst < 0.8
        )


def test_the_worst_case_is_the_mean_of_what_it_makes_of_the_probabilities():
    scores, labels, _, _ = selected(0.2, 0.2, images=97)
    pool = np.where(labels < 0, scores, np.nan)
    fitted, expected = calibrate(scores, labels, pool, CLASSES, 0.9)
    found, p = expected['selection'], fitted.probabilities(scores)
    filled = p[(labels < 0) & (p >= fitted.thresholds)]
    assert found['shift'] == 0 < found['high'] and len(filled)
    assert found['at_worst'] == pytest.approx(expit(logit(filled) - found['high']).mean(), abs=1e-9)
    assert found['at_worst'] < filled.mean() - 0.01


def test_scores_that_tell_nothing_are_no_evidence():
    scores, labels, _, _ = selected(0.3, 0.05)
    assert estimate(np.full_like(scores, 0.5), labels) is None
    assert estimate(scores, np.where(labels == 1, -1, labels)) is None
    assert estimate(scores, np.zeros_like(labels)) is None
    assert estimate(scores, np.abs(labels)) is None  # all are known


def test_images_of_a_group_are_drawn_together():
    """Each image seven times over is no more evidence than once."""
    scores, labels, _, _ = selected(0.3, 0.15)
    few = slice(0, 171)
    once = estimate(scores[few], labels[few])
    copies = [np.repeat(part[few], 7, axis=0) for part in (scores, labels)]
    p = exact(copies[0])
    pool = np.where(labels[few] < 0, exact(scores[few]), np.nan)
    together = estimate_selection(p, copies[1], pool, np.repeat(np.arange(171), 7))
    apart = estimate_selection(p, copies[1], pool, np.arange(7 * 171))
    width = {name: found.high - found.low for name, found in (('1', once), ('7', together), ('7 apart', apart))}
    assert abs(width['7'] / width['1'] - 1) < 0.15 and width['7 apart'] < 0.85 * width['1']


@pytest.mark.parametrize('seed', range(3))
def test_the_precision_asked_for_is_reached_where_people_write_down_what_they_see(seed):
    scores, labels, truth, _ = selected(0.4, 0.05, seed, images=3001)
    pool, hidden = np.where(labels < 0, scores, np.nan), np.where(labels < 0, truth, -1)
    found = {}
    for alike in (True, False):
        fitted, expected = calibrate(scores, labels, pool, CLASSES, 0.9, 'temperature', scored_alike=alike)
        p = fitted.probabilities(scores)
        found[alike] = fitted, expected, decision_quality(p, fitted.decide(p), hidden)
    fitted, expected, measured = found[True]
    assert fitted.shift == expected['selection']['shift'] > 1
    assert measured['positive']['precision'] > 0.88 and measured['positive']['recall'] > 0.3
    assert measured['calibration_error'] < 0.04
    assert abs(expected['positive']['precision'] - measured['positive']['precision']) < 0.06
    assert abs(expected['negative']['precision'] - measured['negative']['precision']) < 0.03
    fitted, expected, measured = found[False]
    assert fitted.shift == 0 and 'selection' not in expected
    assert measured['positive']['precision'] < 0.85 < expected['positive']['precision']


def test_a_fair_sample_is_left_as_it_is():
    scores, labels, _, _ = selected(0.2, 0.2)
    pool = np.where(labels < 0, scores, np.nan)
    (fitted, expected), (other, plain) = (
        calibrate(scores, labels, pool, CLASSES, 0.9, scored_alike=alike) for alike in (True, False)
    )
    assert fitted.to_json() == other.to_json() and fitted.shift == 0
    assert expected.pop('selection')['shift'] == 0
    assert expected == plain


def test_a_shift_is_the_last_step():
    knots = np.array([[0.2, 0.5, 0.8], [0.1, 0.3, 0.9]])
    scores = np.random.default_rng(0).random((53, 3))
    plain, shifted = (Calibration(('a', 'b', 'c'), 1.3, np.zeros(3), knots, shift=shift) for shift in (0.0, 1.1))
    np.testing.assert_allclose(
        shifted.probabilities(scores), expit(logit(plain.probabilities(scores)) - 1.1), rtol=1e-12
    )
    assert Calibration.from_json(shifted.to_json(), 'here').shift == 1.1
