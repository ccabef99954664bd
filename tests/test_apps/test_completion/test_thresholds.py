"""Thresholds against a slow search, and the precision that they have where the truth is known."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score
from sklearn.neighbors import KNeighborsClassifier

from sarlp.apps.completion import calibrate, choose_thresholds, decision_quality, format_quality
from sarlp.datasets.multilabel import fold_of
from sarlp.evaluation import thresholds
from sarlp.evaluation.calibration import fit_calibration
from sarlp.evaluation.quality import calibration_error, precision_interval

from .test_calibration import CLASSES, synthetic


def slow_threshold(p, labels, pool, precision, strength):
    best = np.inf
    if [*labels].count(0) < 5:
        return best
    for t in sorted({*p.tolist(), *pool.tolist()}):
        if t < 0.5:
            continue
        known = [label for q, label in zip(p, labels, strict=True) if q >= t and label >= 0]
        belief = [q for q in pool if q >= t]
        mean = sum(belief) / len(belief) if belief else t
        if (sum(known) + strength * mean) / (len(known) + strength) >= precision:
            best = min(best, t)
    return best


@pytest.mark.parametrize('precision', [0.6, 0.8, 0.95])
def test_equals_a_slow_search(precision):
    rng = np.random.default_rng(0)
    p = rng.random((53, 3)).round(2)  # with ties
    labels = np.where(rng.random(p.shape) < 0.6, rng.random(p.shape) < p**0.7, -1).astype(np.int8)
    pool = np.where(rng.random((71, 3)) < 0.7, rng.random((71, 3)).round(2), np.nan)
    labels[:, 2] = -1  # nothing known
    p, labels, pool = (np.concatenate([part, part[:, :1]], axis=1) for part in (p, labels, pool))
    labels[np.nonzero(labels[:, 3] == 0)[0][4:], 3] = -1
    found = choose_thresholds(p, labels, pool, precision, strength=7.0)
    assert found[0] < found[3] == np.inf
    for c in range(4):
        own = pool[~np.isnan(pool[:, c]), c]
        known = labels[:, c] >= 0
        assert found[c] == slow_threshold(p[known, c], labels[known, c], own, precision, 7.0)


def test_out_of_reach():
    p = np.full((29, 1), 0.6)
    assert choose_thresholds(p, np.zeros((29, 1), np.int8), p, 0.9).tolist() == [np.inf]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('method', ['temperature', 'isotonic', 'auto'])
def test_the_precision_asked_for_is_reached_on_labels_that_were_not_known(seed, method):
    scores, labels, truth = synthetic(images=3001, seed=seed, known=0.1)
    pool = np.where(labels < 0, scores, np.nan)
    calibration, expected = calibrate(scores, labels, pool, CLASSES, 0.9, method)
    decisions = calibration.decide(calibration.probabilities(scores))
    quality = decision_quality(calibration.probabilities(scores), decisions, np.where(labels < 0, truth, -1))
    assert quality['positive']['precision'] >= 0.88
    assert quality['negative']['precision'] >= 0.9
    assert quality['positive']['recall'] > 0.5  # of the best possible 0.85 or so
    assert abs(expected['positive']['precision'] - quality['positive']['precision']) < 0.06


def test_a_group_is_on_one_side_of_the_cross_validation(monkeypatch):
    """Seen from what each calibration is fitted on; without groups an image is one, to the last bit."""
    scores, labels, _ = synthetic(images=701, known=0.3)
    pool = np.where(labels < 0, scores, np.nan)
    group_of = np.random.default_rng(1).integers(0, 97, len(scores))
    groups = [f'patient {number}' for number in group_of]
    fitted_on = []

    def watched(some, *args):
        rows = {row.tobytes() for row in some}
        fitted_on.append(np.array([row.tobytes() in rows for row in scores]))
        return fit_calibration(some, *args)

    monkeypatch.setattr(thresholds, 'fit_calibration', watched)
    calibrate(scores, labels, pool, CLASSES, 0.9, 'temperature', groups)
    inside = [rows for rows in fitted_on if not rows.all()]
    assert len(inside) == thresholds.FOLDS
    for rows in inside:
        assert all(len({*rows[group_of == number].tolist()}) == 1 for number in np.unique(group_of))
    assert (sum(~rows for rows in inside) == 1).all()
    fitted_on.clear()
    calibrate(scores, labels, pool, CLASSES, 0.9, 'temperature')
    assert any(len({*rows[group_of == 3].tolist()}) == 2 for rows in fitted_on)
    plain, of_ids = (calibrate(scores, labels, pool, CLASSES, 0.9, groups=ids) for ids in (None, map(str, range(701))))
    np.testing.assert_array_equal(plain[0].thresholds, of_ids[0].thresholds)
    assert plain[1] == of_ids[1]


@pytest.mark.parametrize('seed', range(3))
def test_precision_of_new_groups_is_what_folds_of_groups_promise(seed):
    """A recogniser by neighbours knows copies by heart: folds of images promise what no new group keeps."""
    rng = np.random.default_rng(seed)

    def photographs(groups, copies):
        labels = np.repeat(rng.random(groups) < 0.4, copies).astype(np.int8)
        signs = rng.normal(0, 1, (groups, 7))
        signs[:, 0] += 2.2 * labels[::copies]  # what tells the class; the rest tells the group
        return np.repeat(signs, copies, 0) + rng.normal(0, 0.01, (groups * copies, 7)), labels

    def scores_of(taught, labels, seen):
        model = KNeighborsClassifier(13, weights='distance').fit(taught, labels)
        return model.predict_proba(seen)[:, 1]

    x, labels = photographs(503, 3)
    new, truth = photographs(3001, 1)
    groups = np.repeat([f'patient {number}' for number in range(503)], 3)
    images = np.array([f'{number}.jpg' for number in range(len(x))])
    applied = scores_of(x, labels, new)[:, None]
    promised, measured = {}, {}
    for name, held_together in (('groups', groups), ('images', images)):
        fold = np.array([fold_of(one, 5) for one in held_together])
        scores = np.empty((len(x), 1))
        for k in range(5):
            scores[fold == k, 0] = scores_of(x[fold != k], labels[fold != k], x[fold == k])
        fitted, expected = calibrate(scores, labels[:, None], applied, ('cat',), 0.8, groups=held_together)
        decisions = fitted.decide(fitted.probabilities(applied))
        promised[name] = expected['positive']['precision']
        measured[name] = decision_quality(applied, decisions, truth[:, None])['positive']['precision']
    assert promised['images'] - measured['images'] > 0.12
    assert abs(promised['groups'] - measured['groups']) < 0.09 and measured['groups'] > 0.77


def test_auto_takes_the_curve_where_the_scores_are_bent():
    rng = np.random.default_rng(0)
    p = rng.random((4001, 5))
    truth = (rng.random(p.shape) < p).astype(np.int8)
    bent = np.where(p < 0.5, expit(40 * (p - 0.5)), expit(0.2 * (p - 0.5)))  # no temperature makes that straight
    calibration, _ = calibrate(bent, truth, bent, CLASSES, 0.9)
    assert calibration.knots is not None
    scores, labels, _ = synthetic()
    assert calibrate(scores, labels, scores, CLASSES, 0.9)[0].knots is None


def test_quality_equals_sklearn():
    rng = np.random.default_rng(1)
    p, decisions = rng.random((37, 5)), rng.integers(-1, 2, (37, 5)).astype(np.int8)
    truth = rng.integers(-1, 2, (37, 5)).astype(np.int8)
    counts = truth >= 0
    quality = decision_quality(p, decisions, truth)
    for name, code in (('positive', 1), ('negative', 0)):
        arguments = truth[counts] == code, decisions[counts] == code
        assert quality[name]['precision'] == pytest.approx(precision_score(*arguments))
        assert quality[name]['recall'] == pytest.approx(recall_score(*arguments))
    assert quality['log_loss'] == pytest.approx(log_loss(truth[counts], p[counts]))
    assert quality['brier'] == pytest.approx(brier_score_loss(truth[counts], p[counts]))
    assert quality['labels'] == counts.sum() and quality['undecided'] == (decisions[counts] < 0).sum()
    assert f'{100 * quality["positive"]["precision"]:.1f} %' in format_quality(quality)


def test_quality_of_nothing():
    nothing = np.full((3, 2), -1, np.int8)
    quality = decision_quality(np.zeros((3, 2)), nothing, nothing)
    assert np.isnan(quality['positive']['precision']) and quality['labels'] == 0
    assert '-' in format_quality(quality)


def test_calibration_error_is_the_mean_distance_within_bins():
    rng = np.random.default_rng(3)
    p, positive = rng.random(211), rng.random(211) < 0.4
    p[:3] = 0, 1, 1 / 3
    expected = 0.0
    for k in range(7):
        inside = [i for i in range(211) if k / 7 <= p[i] < (k + 1) / 7 or (k == 6 and p[i] == 1)]
        if inside:
            expected += len(inside) / 211 * abs(np.mean(p[inside]) - np.mean(positive[inside]))
    assert calibration_error(p, positive, bins=7) == pytest.approx(expected, rel=1e-12)


def test_the_interval_of_a_precision_is_wilsons():
    n, k, z = 23, 19, 1.959963984540054
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    assert precision_interval({'decided': n, 'right': k}) == pytest.approx((centre - half, centre + half))
    assert precision_interval({'decided': 0, 'right': 0}) == (0, 1)


def test_few_labels_do_not_decide_by_one_that_is_wrong(monkeypatch):
    """Scores that are nearly probabilities, twelve draws of the known labels: what is filled in is less at hazard."""
    rng = np.random.default_rng(3)
    logits = rng.normal(-2.5, 2, (1700, 7))
    truth = rng.random(logits.shape) < expit(logits)
    scores = expit(1.3 * logits)
    spreads, worst = [], []
    for belief in (1.0, thresholds.BELIEF):
        monkeypatch.setattr(thresholds, 'BELIEF', belief)
        counts, precisions = [], []
        for draw in range(12):
            known = np.random.default_rng(draw).random(truth.shape) < 0.06
            labels = np.where(known, truth, -1).astype(np.int8)
            fitted, _ = calibrate(scores, labels, np.where(known, np.nan, scores), list('abcdefg'), 0.9)
            filled = (fitted.decide(fitted.probabilities(scores)) == 1) & ~known
            counts.append(filled.sum())
            precisions.append(truth[filled].mean())
        spreads.append(np.std(counts))
        worst.append(min(precisions))
    assert spreads[1] < spreads[0] and worst[1] >= max(worst[0], 0.85)


def test_a_precision_is_looked_up_and_not_reckoned_anew(monkeypatch):
    """Each of ten aims took all labels again, a minute of a hundred thousand images."""
    rng = np.random.default_rng(0)
    p, pool = rng.random((300, 4)), rng.random((200, 4))
    labels = np.where(rng.random(p.shape) < 0.5, rng.random(p.shape) < p, -1).astype(np.int8)
    found = thresholds._Precisions(p, labels, pool)
    aims = (0.6, 0.75, 0.9, 0.99)
    expected = [choose_thresholds(p, labels, pool, aim) for aim in aims]
    monkeypatch.setattr(thresholds, '_sums_from', None)
    assert [found.thresholds(aim).tolist() for aim in aims] == [one.tolist() for one in expected]
    assert len({tuple(one) for one in expected}) == len(aims)


def test_what_is_improbable_is_not_kept():
    p = np.linspace(0, 1, 1000)[:, None]
    labels = (p > 0.7).astype(np.int8)
    ((candidates, precision),) = thresholds._Precisions(p, labels, p[::2] / 2)._of_class
    assert len(candidates) == len(precision) == 500 and candidates.min() >= 0.5
