"""Probabilities against a direct minimisation of the same likelihood, and a slow fit of a monotone curve."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from sarlp.apps.completion import Calibration, calibrate, fit_calibration
from sarlp.errors import UserError

CLASSES = ('ant', 'bee', 'cow', 'dog', 'élan')


def synthetic(images=701, seed=0, scale=1.7, known=0.4):
    """Scores of which sigmoid(scale * logit + offset) is the probability, and labels drawn from it, some unknown."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 2, (images, len(CLASSES)))
    offsets = np.array([-1.5, 0.3, -0.8, 1.1, 0.0])
    truth = (rng.random(logits.shape) < expit(scale * logits + offsets)).astype(np.int8)
    return expit(logits), np.where(rng.random(truth.shape) < known, truth, -1), truth


def likelihood(parameters, logits, labels):
    scale, common, offsets = parameters[0], parameters[1], parameters[2:]
    z = scale * logits + common + offsets
    return (np.logaddexp(0, z) - (labels == 1) * z)[labels >= 0].sum() + 0.5 * (offsets**2).sum()


def test_temperature_and_offsets_minimise_the_penalised_likelihood():
    scores, labels, _ = synthetic()
    found = minimize(likelihood, np.r_[1, 0, np.zeros(5)], (logit(scores), labels), method='BFGS', tol=1e-9).x
    fitted = fit_calibration(scores, labels, CLASSES)
    np.testing.assert_allclose(fitted.scale, found[0], rtol=2e-3)
    np.testing.assert_allclose(fitted.offsets, found[1] + found[2:], atol=1e-2)
    np.testing.assert_allclose(
        fitted.probabilities(scores), expit(found[0] * logit(scores) + found[1] + found[2:]), atol=3e-3
    )


def slow_monotone(x, y):
    """Pool adjacent violators, one pair at a time: the fitted value of each point, by rising x."""
    blocks = [[value, 1] for _, value in sorted(zip(x, y, strict=True))]
    at = 0
    while at < len(blocks) - 1:
        if blocks[at][0] > blocks[at + 1][0]:
            (a, n), (b, m) = blocks[at], blocks[at + 1]
            blocks[at : at + 2] = [[(a * n + b * m) / (n + m), n + m]]
            at = max(at - 1, 0)
        else:
            at += 1
    return [value for value, count in blocks for _ in range(count)]


def test_isotonic_is_the_monotone_curve_after_the_temperature():
    scores, labels, _ = synthetic(images=151)
    first = fit_calibration(scores, labels, CLASSES).probabilities(scores)[labels >= 0]
    second = fit_calibration(scores, labels, CLASSES, 'isotonic').probabilities(scores)[labels >= 0]
    least = 1 / (len(first) + 2)
    expected = np.clip(slow_monotone(first, labels[labels >= 0].astype(float)), least, 1 - least)
    np.testing.assert_allclose(second[np.argsort(first)], expected, atol=1e-9)


@pytest.mark.parametrize('method', ['temperature', 'isotonic'])
def test_probabilities_are_the_share_of_positives(method):
    scores, labels, truth = synthetic(images=4999)
    p = fit_calibration(scores, labels, CLASSES, method).probabilities(scores)
    for low in np.arange(0, 1, 0.2):
        chosen = (p >= low) & (p < low + 0.2) & (labels < 0)
        assert chosen.sum() > 200
        assert abs(truth[chosen].mean() - p[chosen].mean()) < 0.03


def test_scores_that_tell_the_opposite_tell_nothing():
    scores, labels, _ = synthetic()
    fitted = fit_calibration(1 - scores, labels, CLASSES)
    assert fitted.scale == 0
    shares = [(labels[:, c] == 1).sum() / (labels[:, c] >= 0).sum() for c in range(5)]
    np.testing.assert_allclose(fitted.probabilities(scores), np.tile(shares, (len(scores), 1)), atol=0.02)


def test_saturated_scores_are_finite():
    scores, labels, _ = synthetic()
    fitted = fit_calibration(scores, labels, CLASSES)
    assert np.isfinite(fitted.probabilities(np.array([[0.0, 1, 0, 1, 0.5]], np.float32))).all()


@pytest.mark.parametrize('code', [0, 1])
def test_too_few_labels_of_a_kind(code):
    scores, labels, _ = synthetic()
    rows, columns = np.nonzero(labels == code)
    labels[rows[9:], columns[9:]] = -1
    with pytest.raises(UserError, match=r'9 .*10 of each are the least'):
        fit_calibration(scores, labels, CLASSES)


@pytest.mark.parametrize('method', ['temperature', 'auto'])
def test_what_is_enough_for_all_is_enough_for_four_fifths(method):
    scores, labels, _ = synthetic()
    rows, columns = np.nonzero(labels == 1)
    labels[rows[10:], columns[10:]] = -1
    pool = np.where(labels < 0, scores, np.nan)
    fitted, expected = calibrate(scores, labels, pool, CLASSES, 0.9, method)
    assert fitted.scale > 0 and expected['labels'] == (labels >= 0).sum()


def test_unknown_method():
    scores, labels, _ = synthetic()
    with pytest.raises(UserError, match='temperature, isotonic'):
        fit_calibration(scores, labels, CLASSES, 'platt')


def test_decisions():
    calibration = Calibration(('a', 'b', 'c'), 1.0, np.zeros(3), None, np.array([0.7, np.inf, 0.95]), 0.75)
    p = np.array([[0.7, 0.99, 0.94], [0.69, 0.25, 0.95], [0.05, 0.251, 0.26]])
    assert calibration.decide(p).tolist() == [[1, -1, -1], [-1, 0, 1], [0, -1, -1]]


@pytest.mark.parametrize('method', ['temperature', 'isotonic'])
def test_nothing_is_decided_of_a_class_of_one_kind(method):
    """Where a yes is all that is known, or a no, it would be right everywhere."""
    scores, labels, _ = synthetic()
    labels[labels[:, 1] == 0, 1] = -1
    labels[labels[:, 3] == 1, 3] = -1
    fitted = fit_calibration(scores, labels, CLASSES, method)
    assert fitted.undecided == ('bee', 'dog')
    p = fitted.probabilities(scores)
    assert (p[:, 1] >= 0.5).any() and (p[:, 3] <= 0.5).any()
    decided = fitted.decide(p)
    assert (decided[:, [1, 3]] == -1).all() and {*decided[:, [0, 2, 4]].flat} == {0, 1}
    assert fitted.thresholds.tolist() == [0.5, np.inf, 0.5, np.inf, 0.5]  # for who reads nothing else


@pytest.mark.parametrize('method', ['temperature', 'isotonic'])
def test_json_keeps_every_bit(tmp_path, method):
    scores, labels, _ = synthetic()
    fitted = fit_calibration(scores, labels, CLASSES, method)
    fitted = replace(fitted, thresholds=np.array([0.5, np.inf, 0.7, 1 / 3, 0.9]), undecided=('bee',))
    (tmp_path / 'a.json').write_text(json.dumps({'calibration': fitted.to_json()}, allow_nan=False), 'utf-8')
    read = Calibration.read(tmp_path / 'a.json')
    assert read.classes == CLASSES and read.precision == fitted.precision
    assert read.thresholds.tolist() == fitted.thresholds.tolist() and read.undecided == ('bee',)
    assert (read.probabilities(scores) == fitted.probabilities(scores)).all()


GOOD = dict(classes=['a', 'b'], scale=1.0, offsets=[0, 0], knots=None, thresholds=[0.5, None], precision=0.9)


@pytest.mark.parametrize(
    'change',
    [
        {'classes': []},
        {'classes': 'ab'},
        {'classes': [1, 2]},
        {'scale': -1},
        {'scale': 'x'},
        {'offsets': [0]},
        {'offsets': [0, None]},
        {'knots': [[0, 1], [1, 0]]},
        {'knots': []},
        {'knots': [[0, 1]]},
        {'thresholds': [0.5]},
        {'thresholds': 0.5},
        {'precision': 1},
        {'precision': None},
        {'undecided': ['c']},
        {'undecided': None},
    ],
)
def test_what_is_no_calibration(tmp_path, change):
    file = tmp_path / 'a.json'
    file.write_text(json.dumps({'calibration': GOOD | change}))
    with pytest.raises(UserError, match=r'a\.json: holds no calibration'):
        Calibration.read(file)
    assert Calibration.from_json(GOOD, 'here').thresholds.tolist() == [0.5, np.inf]
    assert Calibration.from_json(GOOD, 'of an earlier version').undecided == ()


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"calibration": 3}', '{"calibration": {}}', '{"a": NaN}'])
def test_other_files(tmp_path, content):
    (tmp_path / 'a.json').write_text(content)
    with pytest.raises(UserError, match=r'a\.json'):
        Calibration.read(tmp_path / 'a.json')
    with pytest.raises(UserError, match=r'b\.json: no such file'):
        Calibration.read(tmp_path / 'b.json')
