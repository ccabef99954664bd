"""The metrics against the authors' numbers, scikit-learn and loops written from the formulas."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sarlp.evaluation.functional import (
    average_precision,
    f1_family,
    label_recovery,
    mean_average_precision,
)

GOLDEN = Path(__file__).parents[1] / 'data' / 'metrics.npz'
F1_NAMES = ['CP', 'CR', 'CF1', 'OP', 'OR', 'OF1']
N, C = 61, 7


def make_data(seed=0, levels=None, dtype=np.float64):
    """Scores, tri-state labels and an ignore mask; with ``levels``, scores of that many distinct values."""
    rng = np.random.default_rng(seed)
    scores = rng.random((N, C)) if levels is None else rng.integers(levels, size=(N, C)) / levels
    targets = rng.choice([1, 0, -1], p=[0.25, 0.6, 0.15], size=(N, C))
    return scores.astype(dtype), targets, rng.random((N, C)) < 0.1


def slow_average_precision(scores, labels, kind):
    """One class, from the definition: a threshold at every distinct score, precision and recall counted anew."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        chosen = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        points.append((sum(chosen) / sum(labels), sum(chosen) / len(chosen)))
    total = 0.0
    for index in range(1, len(points)):
        recall, precision = points[index]
        if kind == 'voc12':
            precision = max(other for at, other in points[index:] if at >= recall)
        total += (recall - points[index - 1][0]) * precision
    return total


def slow_f1_family(scores, targets, ignore, threshold, top_k):
    per_class = []
    for c in range(scores.shape[1]):
        tp = predicted = positives = 0
        for n in range(scores.shape[0]):
            if ignore[n, c] or targets[n, c] == -1:
                continue
            rank = sum(scores[n, d] > scores[n, c] or (scores[n, d] == scores[n, c] and d < c) for d in range(C))
            answer = scores[n, c] >= threshold and (top_k is None or rank < top_k)
            tp += answer and targets[n, c] == 1
            predicted += answer
            positives += targets[n, c] == 1
        per_class.append((tp, predicted, positives))
    cp = np.mean([tp / predicted if predicted else 0 for tp, predicted, _ in per_class])
    cr = np.mean([tp / positives for tp, _, positives in per_class])
    tp, predicted, positives = np.sum(per_class, axis=0)
    op, recall = tp / predicted, tp / positives
    return [cp, cr, 2 * cp * cr / (cp + cr), op, recall, 2 * op * recall / (op + recall)]


@pytest.mark.parametrize('case', ['plain', 'ignore'])
def test_equals_the_authors_numbers(case):
    with np.load(GOLDEN) as golden:
        golden = dict(golden)
    ignore = golden['ignore'] if case == 'ignore' else None
    scores, targets = golden['scores'], golden['targets']
    for kind, name in (('voc12', '2012'), ('plain', '2007')):
        ap = average_precision(scores, targets, ignore, kind)
        np.testing.assert_allclose(ap, golden[f'{case}/ap{name}'], rtol=0, atol=1e-12)
        mean, left_out = mean_average_precision(ap)
        assert mean == pytest.approx(float(golden[f'{case}/map{name}']), abs=1e-12)
        assert left_out == 0
    for name, top_k in (('threshold', None), ('top3', 3)):
        result = f1_family(scores, targets, ignore, top_k=top_k)
        assert list(result) == F1_NAMES
        np.testing.assert_allclose(list(result.values()), golden[f'{case}/{name}'], rtol=0, atol=1e-12)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('levels', [None, 11])
def test_plain_equals_scikit_learn(seed, levels):
    scores, targets, _ = make_data(seed, levels)
    expected = [
        average_precision_score(targets[known, c], scores[known, c]) for c, known in enumerate((targets != -1).T)
    ]
    np.testing.assert_allclose(average_precision(scores, targets, kind='plain'), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('kind', ['voc12', 'plain'])
@pytest.mark.parametrize('levels', [None, 2, 11])
def test_average_precision_equals_the_definition(kind, levels):
    scores, targets, ignore = make_data(3, levels)
    expected = []
    for c in range(C):
        keep = (targets[:, c] != -1) & ~ignore[:, c]
        expected.append(slow_average_precision(scores[keep, c].tolist(), targets[keep, c].tolist(), kind))
    np.testing.assert_allclose(average_precision(scores, targets, ignore, kind), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('top_k', [None, 1, 3, C, C + 5])
@pytest.mark.parametrize('levels', [None, 4])
@pytest.mark.parametrize('threshold', [0.5, 0.0, -np.inf])
def test_f1_family_equals_the_definition(top_k, levels, threshold):
    scores, targets, ignore = make_data(4, levels)
    result = list(f1_family(scores, targets, ignore, threshold, top_k).values())
    np.testing.assert_allclose(result, slow_f1_family(scores, targets, ignore, threshold, top_k), rtol=0, atol=1e-12)


def test_ties_are_one_step():
    # all four tied: the only threshold takes them all, precision 1/4, however the rows are ordered
    scores = np.full((4, 1), 0.7)
    for position in range(4):
        targets = np.zeros((4, 1), int)
        targets[position] = 1
        assert average_precision(scores, targets, kind='plain') == 0.25
        assert average_precision(scores, targets) == 0.25


@pytest.mark.parametrize('levels', [None, 5])
def test_order_of_images_does_not_matter(levels):
    scores, targets, ignore = make_data(5, levels)
    order = np.random.default_rng(0).permutation(N)
    shuffled = scores[order], targets[order], ignore[order]
    for kind in ('voc12', 'plain'):
        expected = average_precision(scores, targets, ignore, kind)
        np.testing.assert_array_equal(average_precision(*shuffled, kind), expected)
    assert f1_family(*shuffled, top_k=3) == f1_family(scores, targets, ignore, top_k=3)


def test_ignored_equals_unknown_equals_deleted():
    scores, targets, ignore = make_data(6)
    targets[targets == -1] = 0
    unknown = np.where(ignore, -1, targets)
    deleted = [
        average_precision(scores[~ignore[:, c], c : c + 1], targets[~ignore[:, c], c : c + 1])[0] for c in range(C)
    ]
    np.testing.assert_array_equal(average_precision(scores, targets, ignore), deleted)
    np.testing.assert_array_equal(average_precision(scores, unknown), deleted)
    for top_k in (None, 3):
        assert f1_family(scores, targets, ignore, top_k=top_k) == f1_family(scores, unknown, top_k=top_k)
    # at the threshold alone a deleted pair is one without a prediction and without a positive
    emptied = f1_family(np.where(ignore, 0.0, scores), np.where(ignore, 0, targets))
    assert f1_family(scores, targets, ignore) == emptied


def test_an_ignored_class_keeps_its_place_in_the_top_k():
    scores, targets = np.array([[0.9, 0.8, 0.7]]), np.array([[0, 1, 1]])
    ignore = np.array([[True, False, False]])
    assert f1_family(scores, targets, ignore, top_k=2)['OR'] == 0.5
    assert f1_family(scores, targets, None, threshold=0.85, top_k=2)['OP'] == 0.0


def test_inputs_are_left_alone():
    scores, targets, ignore = make_data(8)
    for array in (scores, targets, ignore):
        array.setflags(write=False)
    average_precision(scores, targets, ignore)
    f1_family(scores, targets, ignore, top_k=3)
    label_recovery(scores, targets, np.abs(targets))


def test_a_score_may_just_reach_the_threshold_and_zero_is_one():
    scores, targets = np.array([[0.5], [0.6], [0.0]]), np.array([[1], [1], [1]])
    assert f1_family(scores, targets)['OR'] == pytest.approx(2 / 3)
    assert f1_family(scores, targets, threshold=0.55)['OR'] == pytest.approx(1 / 3)
    assert f1_family(scores, targets, threshold=0.0)['OR'] == 1


def test_class_without_positives_is_left_out():
    scores, targets, _ = make_data(9)
    targets[:, 2] = np.where(targets[:, 2] == 1, 0, targets[:, 2])
    ap = average_precision(scores, targets)
    assert np.flatnonzero(np.isnan(ap)).tolist() == [2]
    others = [c for c in range(C) if c != 2]
    assert mean_average_precision(ap) == (pytest.approx(ap[others].mean()), 1)
    with_it, without = f1_family(scores, targets), f1_family(scores[:, others], targets[:, others])
    assert with_it['CP'] == pytest.approx(without['CP'])
    assert with_it['CR'] == pytest.approx(without['CR'])
    assert with_it['OP'] < without['OP']


def test_class_without_predictions_has_precision_zero():
    scores, targets = np.array([[0.9, 0.1], [0.1, 0.1]]), np.array([[1, 1], [0, 0]])
    result = f1_family(scores, targets)
    assert (result['CP'], result['CR'], result['OP'], result['OR']) == (0.5, 0.5, 1.0, 0.5)
    nothing = f1_family(np.zeros((2, 2)), targets)
    assert list(nothing.values()) == [0.0] * 6


def test_without_any_positive():
    result = f1_family(np.ones((3, 2)), np.zeros((3, 2)))
    assert result['OP'] == 0.0
    assert all(np.isnan(result[name]) for name in F1_NAMES if name != 'OP')
    ap = average_precision(np.ones((3, 2)), np.zeros((3, 2)))
    mean, left_out = mean_average_precision(ap)
    assert np.isnan(mean) and left_out == 2
    assert np.isnan(average_precision(np.empty((0, 3)), np.empty((0, 3)))).all()


def test_label_recovery_counts_hidden_pairs_only():
    scores, full, _ = make_data(10)
    rng = np.random.default_rng(1)
    observed = np.where(rng.random((N, C)) < 0.3, full, -1)
    result = label_recovery(scores, observed, full)
    hidden = (observed == -1) & (full != -1)
    expected = [
        slow_average_precision(scores[hidden[:, c], c].tolist(), full[hidden[:, c], c].tolist(), 'voc12')
        for c in range(C)
    ]
    assert result['AP'] == pytest.approx(np.mean(expected), abs=1e-12)
    pooled = slow_average_precision(scores[hidden].tolist(), full[hidden].tolist(), 'voc12')
    assert result['AP_micro'] == pytest.approx(pooled, abs=1e-12)
    tp = ((scores > 0.5) & (full == 1) & hidden).sum()
    precision, recall = tp / ((scores > 0.5) & hidden).sum(), tp / ((full == 1) & hidden).sum()
    assert result['precision'] == pytest.approx(precision)
    assert result['recall'] == pytest.approx(recall)
    assert result['F1'] == pytest.approx(2 * precision * recall / (precision + recall))
    assert (result['hidden'], result['hidden_positive']) == (hidden.sum(), (hidden & (full == 1)).sum())
    assert result['classes_left_out'] == 0
    # scores of labels that were seen have no say
    assert label_recovery(np.where(hidden, scores, 1 - scores), observed, full) == result


@pytest.mark.parametrize('size', [(N, C), (0, C)])
def test_label_recovery_with_nothing_hidden(size):
    scores, full = np.full(size, 0.9), np.ones(size)
    for observed, truth in ((full, full), (-full, -full)):
        result = label_recovery(scores, observed, truth)
        assert (result['hidden'], result['hidden_positive'], result['classes_left_out']) == (0, 0, C)
        assert all(np.isnan(result[key]) for key in ('AP', 'AP_micro', 'precision', 'recall', 'F1'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(scores=np.zeros((5, 3)), targets=np.zeros((3, 5))), r'\(5, 3\), but have \(3, 5\)'),
        (dict(scores=np.zeros(5), targets=np.zeros(5)), r'\(images, classes\), but have \(5,\)'),
        (dict(ignore=np.zeros((3, 5), bool)), r'ignore must have .* \(5, 3\), but has \(3, 5\)'),
        (dict(ignore=np.full((5, 3), -1)), 'ignore must hold only'),
        (dict(scores=np.zeros((5, 3), int)), 'floating point, but are int64'),
        (dict(scores=np.where(np.arange(15).reshape(5, 3) == 7, np.nan, 0.5)), 'NaN, first at image 2, class 1'),
        (dict(targets=np.where(np.arange(15).reshape(5, 3) == 7, 0.5, 0)), 'but hold 0.5 at image 2, class 1'),
        (dict(targets=np.full((5, 3), 2)), 'but hold 2 at image 0, class 0'),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = dict(scores=np.zeros((5, 3)), targets=np.zeros((5, 3))) | change
    for function in (average_precision, f1_family):
        with pytest.raises(ValueError, match=message):
            function(**arguments)


def test_bad_arguments_are_named():
    data = np.zeros((5, 3)), np.zeros((5, 3))
    with pytest.raises(ValueError, match="'voc12', 'plain', but is 'voc07'"):
        average_precision(*data, kind='voc07')
    for top_k in (0, -1, 1.5):
        with pytest.raises(ValueError, match='top_k'):
            f1_family(*data, top_k=top_k)
    with pytest.raises(ValueError, match='threshold'):
        f1_family(*data, threshold=float('nan'))
    with pytest.raises(ValueError, match='observed must have the shape'):
        label_recovery(data[0], np.zeros((5, 2)), data[1])
    with pytest.raises(ValueError, match='full must have the shape'):
        label_recovery(*data, np.zeros((5, 2)))
