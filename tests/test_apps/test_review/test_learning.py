"""A review that learns: out of fold, nothing lost, nothing asked twice, nobody waits."""

import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from sarlp.apps.completion import Calibration, calibrate
from sarlp.apps.completion.record import read_recovered
from sarlp.apps.review import Review, Selection, server
from sarlp.apps.review.features import FoldFeatures, features_path, fold_features
from sarlp.apps.review.learned_file import Point, learned_path
from sarlp.apps.review.learner import Learner
from sarlp.apps.review.learning import Learned, learn, refit_scores

from .conftest import CLASSES

N, C, D, K = 97, 3, 2, 3
L2 = 3e-3


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    x = random.normal(size=(K, N, D)).astype(np.float32)
    observed = np.where(random.random((N, C)) < 0.4, random.random((N, C)) < 0.4, -1).astype(np.int8)
    fold = np.arange(N) % K
    random.shuffle(fold)
    logits = random.normal(size=(K, N, C)).astype(np.float32)
    return FoldFeatures(np.array([f'{i}.jpg' for i in range(N)]), fold, observed, logits, x)


@pytest.fixture
def answered(features):
    random = np.random.default_rng(1)
    asked = (features.observed == -1) & (random.random((N, C)) < 0.3)
    asked[:, 2] = False  # a class without answers
    return asked, np.where(asked, random.integers(0, 2, (N, C)), features.observed)


def test_refit_is_its_formula(features, answered):
    asked, labels = answered
    actual = refit_scores(features, labels, asked, L2)
    for fold in range(K):
        inside = features.fold == fold
        x = (features.features[fold] - features.features[fold].mean(0)) / features.features[fold].std(0)
        m = np.mean([row @ row for row in x[~inside & (labels[:, 0] != -1)]])
        for c in range(C):
            taught = [i for i in range(N) if not inside[i] and labels[i, c] != -1]

            def objective(row, taught=taught, c=c, x=x, fold=fold):
                total = 0.0
                for i in taught:
                    p = expit(features.logits[fold, i, c] + x[i] @ row[:-1] + row[-1])
                    total -= np.log(p if labels[i, c] else 1 - p)
                m = np.mean([x[i] @ x[i] for i in taught])
                return total / len(taught) + L2 / 2 * m * row[:-1] @ row[:-1]

            row = np.zeros(D + 1) if c == 2 else minimize(objective, np.zeros(D + 1), method='Nelder-Mead').x
            expected = expit(features.logits[fold, inside, c] + x[inside] @ row[:-1] + row[-1])
            np.testing.assert_allclose(actual[inside, c], expected, atol=3e-3)
    assert m > 0


@pytest.mark.parametrize('kind', ['answer', 'known'])
def test_no_label_has_a_part_in_its_own_score(features, answered, kind):
    asked, labels = answered
    before = refit_scores(features, labels, asked, L2)
    where = asked if kind == 'answer' else features.observed != -1
    for image, c in np.argwhere(where[:, :2])[::7]:
        flipped = labels.copy()
        flipped[image, c] = 1 - flipped[image, c]
        after = refit_scores(features, flipped, asked, L2)
        own = features.fold == features.fold[image]
        assert np.array_equal(after[own], before[own])
        assert (after[~own, c] != before[~own, c]).all()
        assert np.array_equal(np.delete(after, c, 1), np.delete(before, c, 1))


def decided_of(features, asked, labels):
    return {(str(features.image_ids[i]), CLASSES[c]): int(labels[i, c]) for i, c in np.argwhere(asked)}


def test_thresholds_rest_on_what_was_known(features, answered):
    """By a loop: the known labels as corrected, no answer to a blank; a blank that was answered is in no pool."""
    asked, labels = answered
    decided = decided_of(features, asked, labels)
    corrected = tuple(np.argwhere(features.observed == 1)[0])
    withdrawn = tuple(np.argwhere(features.observed == 0)[0])
    for (image, c), code in ((corrected, 0), (withdrawn, -1)):
        decided[str(features.image_ids[image]), CLASSES[c]] = code
    learned = learn(features, CLASSES, {**decided, ('strange.jpg', CLASSES[0]): 1}, 0.7, l2=())
    scores = np.empty((N, C))
    known, pool = np.full((N, C), -1), np.full((N, C), np.nan)
    for i in range(N):
        for c in range(C):
            scores[i, c] = expit(float(features.logits[features.fold[i], i, c]))
            answer = decided.get((f'{i}.jpg', CLASSES[c]))
            if features.observed[i, c] != -1:
                known[i, c] = features.observed[i, c] if answer is None else answer
            elif answer is None:
                pool[i, c] = scores[i, c]
    expected, _ = calibrate(scores, known, pool, CLASSES, 0.7)
    assert known[corrected] == 0 and known[withdrawn] == -1
    np.testing.assert_array_equal(learned.calibration.thresholds, expected.thresholds)
    np.testing.assert_allclose(learned.probabilities, expected.probabilities(scores))
    np.testing.assert_array_equal(learned.decisions, expected.decide(expected.probabilities(scores)))
    assert learned.answers == len(decided)


def test_it_learns_what_there_is_to_learn_and_nothing_else(features):
    """The trained scores are noise. Where features tell the class they are used; where they do not, nothing changes."""
    truth = (features.features[0] @ np.array([[2, 0, 1], [0, 2, 1]]) > 0).astype(np.int8)
    same = replace(features, features=np.stack([features.features[0]] * K))
    same = replace(same, observed=np.where(features.observed == -1, -1, truth).astype(np.int8))
    asked = (same.observed == -1) & (np.arange(N) % 2 == 0)[:, None]
    learned = learn(same, CLASSES, decided_of(same, asked, truth), 0.8)
    open_ = (same.observed == -1) & ~asked
    assert ((learned.probabilities > 0.5) == truth)[open_].mean() > 0.9
    random = np.random.default_rng(8)
    pointless = replace(same, features=random.normal(size=(K, N, 41)).astype(np.float32))
    few = asked & (random.random((N, C)) < 0.1)
    useless = learn(pointless, CLASSES, decided_of(same, few, truth), 0.8)
    np.testing.assert_array_equal(
        useless.probabilities, learn(pointless, CLASSES, decided_of(same, few, truth), 0.8, l2=()).probabilities
    )


def learned_on(review, seed=0):
    """Anything that could be learnt."""
    images = sorted({item.image for item in review.queue.items})
    random = np.random.default_rng(seed)
    p = random.random((len(images), 3))
    decisions = np.where(p > 0.7, 1, np.where(p < 0.3, 0, -1)).astype(np.int8)
    calibration = Calibration(CLASSES, 1.0, np.zeros(3), thresholds=np.full(3, 0.7), precision=0.7)
    return images, Learned(p, decisions, calibration, {}, len(review.log.decided))


def state_of(review):
    queue = review.queue
    return (
        [*queue.items],
        [queue.decision(index) for index in range(len(queue))],
        queue.select(Selection(order='filling')).tolist(),
        review.curve,
        review.point(),
        review.learnt_from,
    )


def test_a_renewal_and_a_restart(made):
    review = Review(made.table)
    selection = Selection(order='filling', state='open')
    start = review.point()
    asked = []
    for _ in range(7):
        asked.append(review.queue.find(selection).item)
        review.decide(asked[-1], len(asked) % 2)
    in_front = review.queue.find(selection).item
    review.queue.look_at(in_front)
    images, learned = learned_on(review)
    review.renew(images, learned, review.snapshot()[1])
    assert review.queue.find(selection).item == in_front
    for item in review.queue.items:
        if item.kind != 'suspect':
            row, column = images.index(item.image), CLASSES.index(item.cls)
            assert item.probability == learned.probabilities[row, column]
            assert item.suggestion == {1: 1, 0: 0, -1: None}[learned.decisions[row, column]]
    while True:  # to the end, each once
        index = review.queue.find(selection).item
        if index is None:
            break
        assert index not in asked
        asked.append(index)
        review.decide(index, 1)
        if len(asked) % 5 == 0:
            review.renew(*learned_on(review, len(asked)), review.snapshot()[1])
    assert sorted(asked) == [*range(len(review.queue))]
    assert review.curve[0] == start and review.curve[-1].answers == len(asked) // 5 * 5
    review.undo(review.log.undoable())
    before = state_of(review)
    review.close()
    for read_only in (True, False):
        again = Review(made.table, read_only)
        assert state_of(again)[:2] + state_of(again)[3:] == before[:2] + before[3:]
        assert again.queue.find(selection).item == review.queue.find(selection).item
        again.close()


def test_what_was_learnt_of_something_else_counts_for_nothing(made):
    review = Review(made.table)
    review.decide(0, 1)
    review.renew(*learned_on(review), review.snapshot()[1])
    review.close()
    good, log = learned_path(made.table).read_bytes(), review.log.path.read_bytes()

    def learnt():
        again = Review(made.table, read_only=True)
        return again.learnt_from, len(again.curve)

    assert learnt() == (1, 2)
    learned_path(made.table).write_bytes(good[: len(good) // 2])  # a disk that lost its end
    assert learnt() == (0, 1)
    learned_path(made.table).write_bytes(good)
    review.log.path.write_bytes(log.replace(b'positive', b'negative'))
    assert learnt() == (0, 1)
    review.log.path.write_bytes(log)
    table = made.table.read_bytes()
    made.table.write_bytes(table.replace(b'undecided', b'negative', 1))
    assert learnt() == (0, 1)
    made.table.write_bytes(table)
    assert learnt() == (1, 2)


def test_export_says_from_how_many_answers(made):
    review = Review(made.table)
    for index in range(5):
        review.decide(index, 1)
    review.renew(*learned_on(review), review.snapshot()[1])
    exported = review.export()
    assert exported.answers == 5
    written = read_recovered(exported.files['table'])
    blanks = [item for item in review.queue.items if item.kind != 'suspect']
    words = {1: 'positive', 0: 'negative', None: 'undecided'}
    for index, (row, item) in enumerate(zip(written, blanks, strict=True)):
        label = review.queue.decision(index)
        assert row[:2] == item.pair and row.probability == pytest.approx(item.probability, rel=1e-5)
        assert row.decision == words[item.suggestion if label is None else label]
    text = exported.files['source'].read_text(encoding='utf-8')
    assert 'learnt from 5 answers' in text and 'reviewed' in text
    review.close()


def test_it_says_why_it_does_not_learn(made, in_page):
    review = Review(made.table)
    learner = Learner(review)
    assert review.learning_status.startswith('The review does not learn: the completion was not made in folds')
    page = in_page(review)
    assert not review.learning and 'value="filling" selected' not in page('/').text
    assert page('/api/curve').json['learning'] == review.learning_status
    learner.close()
    review.close()


@pytest.fixture
def in_page():
    def start(review):
        client = server.create_app(review, 8017).test_client()
        return lambda path: client.get(path, base_url='http://127.0.0.1:8017')

    return start


def wait_for(condition):
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_in_the_background(in_folds, in_page):
    """With models, in a process of its own: answers do not wait for it, and its end is not that of the review."""
    review = Review(in_folds.table)
    learner = Learner(review, every=5)
    assert review.learning and 'value="filling" selected' in in_page(review)('/').text
    for index in range(5):  # the process imports for seconds
        review.decide(index, 1)
    assert review.learnt_from == 0 and len(review.log.decided) == 5
    wait_for(lambda: review.learnt_from == 5 or not review.learning)
    assert review.learning, review.learning_status
    features = fold_features(in_folds.table, 'cpu')
    assert features_path(in_folds.table).is_file() and features.logits.shape == (3, 47, 3)
    expected = learn(features, CLASSES, dict(review.log.decided), 0.8)
    rows = {image: row for row, image in enumerate(features.image_ids.tolist())}
    for item in review.queue.items:
        assert item.probability == expected.probabilities[rows[item.image], CLASSES.index(item.cls)]
    curve = in_page(review)('/api/curve').json
    assert [point['answers'] for point in curve['points']] == [0, 5, 5]
    assert curve['points'][0] == Point(0, sum(row[3] != 'undecided' for row in in_folds.recovered))._asdict()
    assert curve['blanks'] == len(in_folds.recovered)

    os.kill(learner._process.pid, signal.SIGKILL)
    for index in range(5, 10):
        review.decide(index, 0)
    wait_for(lambda: not review.learning)
    assert 'the process that learns has ended' in review.learning_status
    review.decide(10, 1)
    assert review.queue.reviewed() == 11
    learner.close()
    review.close()


def test_simulated_reviewer_counts(made, simulator):
    review = Review(made.table)
    chance = np.random.default_rng(4)
    truth = {item.pair: int(chance.integers(-1, 2)) for item in review.queue.items}
    stops = [0, 3, 11]
    found = simulator.simulate(review, None, truth, simulator.at_random, stops, 2)
    review.close()
    counted = SimpleNamespace(blank=0, filled=0, yes=[], all=[])
    for index, item in enumerate(review.queue.items):
        if item.kind == 'suspect' or truth[item.pair] == -1:
            continue
        counted.blank += 1
        if review.queue.decision(index) in (0, 1):
            counted.filled += 1
        elif item.suggestion is not None:
            counted.filled += 1
            counted.all.append(item.suggestion == truth[item.pair])
            counted.yes += counted.all[-1:] if item.suggestion else []
    assert [row.answers for row in found] == stops
    assert found[-1][1:] == pytest.approx(
        (counted.filled / counted.blank, np.mean(counted.yes), np.mean(counted.all)), nan_ok=True
    )
    assert all(
        review.log.decided[item.pair] == truth[item.pair]
        for item in review.queue.items
        if item.pair in review.log.decided
    )


@pytest.fixture
def simulator():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[3] / 'benchmarks' / 'review.py'
    spec = importlib.util.spec_from_file_location('review_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
