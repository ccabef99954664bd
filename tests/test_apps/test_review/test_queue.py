"""Filters, orders and moving, against loops over plain rows."""

import itertools
import math
import random

import numpy as np
import pytest

from sarlp.apps.completion import Recovered, Suspect
from sarlp.apps.review import ReviewQueue, Selection
from sarlp.apps.review.filling import expected_filling
from sarlp.apps.review.queue import KINDS, ORDERS, STATES, Found
from sarlp.errors import UserError, UserValueError

CLASSES = ('a', 'b', 'c', 'none', 'e')


@pytest.fixture(scope='module')
def rows():
    chance = random.Random(11)
    result = []
    for image, name in itertools.product(range(23), ('a', 'b', 'c', 'e')):
        p = chance.choice([0.0, 0.1, 0.5, 0.5, 0.9, 1.0, chance.random()])
        share = {'a': 0.9, 'b': 0.7, 'c': 0.2, 'e': 0.4}[name]
        if chance.random() < share:
            result.append(Recovered(f'{image}.jpg', name, p, chance.choice(['positive', 'negative', 'undecided'])))
        elif chance.random() < 0.3:
            result.append(Suspect(f'{image}.jpg', name, chance.choice(['positive', 'negative']), p))
    chance.shuffle(result)
    return sorted(result, key=lambda row: isinstance(row, Suspect))


@pytest.fixture
def queue(rows):
    recovered = [row for row in rows if isinstance(row, Recovered)]
    suspects = [row for row in rows if isinstance(row, Suspect)]
    assert len(recovered) > 30 and len(suspects) > 3
    queue = ReviewQueue(recovered, suspects, CLASSES, {'b': 7, 'none': 5, 'e': 100})
    for index in range(len(queue)):
        if index % 4:
            queue.set_decision(index, (1, 0, -1)[index % 3])
    return queue


def decision_of(index):
    return (1, 0, -1)[index % 3] if index % 4 else None


def kind_of(row):
    if isinstance(row, Suspect):
        return 'suspect'
    return 'undecided' if row.decision == 'undecided' else 'suggested'


def value_of(row, rows):
    """Entropy, or the chance that a label is wrong, times the weight of the class."""
    expected = dict.fromkeys(('a', 'b', 'c', 'e'), 0.0)
    expected['b'] += 7
    expected['e'] += 100
    for other in rows:
        if isinstance(other, Recovered):
            expected[other.cls] += other.probability
    first, second, third, fourth = sorted(expected.values())
    weight = min(4, max(0.25, math.sqrt((second + third) / 2 / expected[row.cls])))
    p = row.probability
    if isinstance(row, Suspect):
        return weight * abs(p - (row.label == 'positive'))
    return weight * sum(-q * math.log2(q) for q in (p, 1 - p) if q > 0)


def gains_of(rows):
    images = list(dict.fromkeys(row.image for row in rows))
    return expected_filling(
        np.array([row.probability for row in rows]),
        np.array([CLASSES.index(row.cls) for row in rows]),
        np.array([row.label == 'positive' if isinstance(row, Suspect) else -1 for row in rows], int),
        np.array([kind_of(row) == 'undecided' for row in rows]),
        np.ones(len(rows), bool),
        np.array([images.index(row.image) for row in rows]),
        np.array([0, 7, 0, 5, 100]),
    )


def slow(rows, selection):
    chosen = []
    for index, row in enumerate(rows):
        decision = decision_of(index)
        states = {
            None: True,
            'open': decision is None,
            'reviewed': decision is not None,
            'positive': decision == 1,
            'negative': decision == 0,
            'undecided': decision == -1,
        }
        if (
            selection.low <= row.probability <= selection.high
            and selection.cls in (None, row.cls)
            and selection.kind in (None, kind_of(row))
            and states[selection.state]
        ):
            chosen.append(index)
    images = list(dict.fromkeys(row.image for row in rows))
    keys = {
        'filling': lambda index: index,  # see below
        'informative': lambda index: -round(value_of(rows[index], rows), 9),
        'suspects': lambda index: (
            -math.inf if isinstance(rows[index], Suspect) else -round(value_of(rows[index], rows), 9)
        ),
        'highest': lambda index: -rows[index].probability,
        'lowest': lambda index: rows[index].probability,
        'image': lambda index: (images.index(rows[index].image), CLASSES.index(rows[index].cls)),
    }
    return sorted(chosen, key=keys[selection.order])


@pytest.mark.parametrize('order', ORDERS)
def test_every_selection(queue, rows, order):
    ranges = [(0, 1), (0.5, 0.5), (0.1, 0.9), (0.3, 0.8), (0.123, 0.124)]
    sizes = set()
    gains = gains_of(rows)
    for cls, kind, state, (low, high) in itertools.product((None, *CLASSES), (None, *KINDS), (None, *STATES), ranges):
        selection = Selection(cls, kind, state, low, high, order)
        actual = queue.select(selection).tolist()
        expected = slow(rows, selection)
        if order in ('informative', 'suspects'):  # equal values may differ in the last bit
            assert sorted(actual) == sorted(expected)
            ahead = [index for index in expected if order == 'suspects' and isinstance(rows[index], Suspect)]
            assert actual[: len(ahead)] == ahead
            values = [value_of(rows[index], rows) for index in actual[len(ahead) :]]
            np.testing.assert_allclose(values, sorted(values, reverse=True), rtol=1e-9, atol=1e-9)
        elif order == 'filling':
            assert sorted(actual) == sorted(expected)
            assert [*gains[actual]] == sorted(gains[actual], reverse=True)
        else:
            assert actual == expected
        sizes.add(len(actual))
    assert len(sizes) > 20


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('state', ['open', None, 'positive'])
def test_moving(queue, order, state):
    selection = Selection(state=state, order=order, high=0.9)
    chosen = queue.select(selection).tolist()
    everything = queue.select(Selection(order=order)).tolist()
    total = len(chosen)
    assert queue.find(selection) == Found(chosen[0], 0, total)
    assert queue.find(selection, step=-1) == Found(chosen[-1], total - 1, total)
    for position, index in enumerate(everything):
        before = [other for other in everything[:position] if other in chosen]
        after = [other for other in everything[position + 1 :] if other in chosen]
        assert queue.find(selection, index) == Found(index, len(before), total)
        assert queue.find(selection, index, 1).item == (after[0] if after else None)
        assert queue.find(selection, index, -1).item == (before[-1] if before else None)


def test_the_gain_is_its_formula():
    random = np.random.default_rng(5)
    number = 97
    p, cls, group = random.random(number), random.integers(0, 3, number), random.integers(0, 13, number)
    label = np.where(random.random(number) < 0.1, random.integers(0, 2, number), -1)
    undecided = (label == -1) & (random.random(number) < 0.5)
    asked = random.random(number) < 0.8
    positives = np.array([2, 0, 11])
    h = [(4 * q * (1 - q) if y == -1 else abs(q - y)) if a else 0 for q, y, a in zip(p, label, asked, strict=True)]
    plain = []
    for i in range(number):
        size = sum(undecided[j] and asked[j] and cls[j] == cls[i] for j in range(number))
        before = sum(h[j] for j in range(number) if cls[j] == cls[i] and h[j] > h[i])
        evidence = h[i] * size / (2 * (1 + positives[cls[i]] + before))
        plain.append((undecided[i] and asked[i]) + evidence)
    expected = []
    for i in range(number):
        earlier = sum(group[j] == group[i] and asked[j] and plain[j] > plain[i] for j in range(number))
        expected.append(plain[i] / (1 + earlier))
    actual = expected_filling(p, cls, label, undecided, asked, group, positives)
    np.testing.assert_allclose(actual[asked], np.array(expected)[asked], rtol=1e-9)
    assert not actual[~asked].any()


def test_what_was_looked_at_keeps_its_place(queue):
    selection = Selection(order='filling')
    first = queue.select(selection).tolist()
    looked_at = [first[11], first[3], first[29]]
    for index in looked_at:
        queue.look_at(index)
    chance = np.random.default_rng(3)
    asked = [index for index in range(len(queue)) if queue.decision(index) is None]
    queue.renew(chance.random(len(queue)), chance.integers(-1, 2, len(queue)))
    again = queue.select(selection).tolist()
    assert again[:3] == looked_at and again[3:] != [index for index in first if index not in looked_at]
    assert queue.find(selection, looked_at[2], 1).item == again[3]
    ahead = [index for index in asked if index not in looked_at]
    assert set(again[3 : 3 + len(ahead)]) == set(ahead)  # what is decided already is asked of nobody


def test_blanks(queue, rows):
    filled = total = 0
    for index, row in enumerate(rows):
        if isinstance(row, Recovered):
            total += 1
            decision = decision_of(index)
            filled += decision != -1 if decision is not None else row.decision != 'undecided'
    assert queue.blanks() == (filled, total)


@pytest.mark.parametrize('order', ORDERS)
def test_avoiding(queue, order):
    """What others have in front of them is passed over; where nothing else is left, it is found nevertheless."""
    selection = Selection(state='open', order=order)
    chosen = queue.select(selection).tolist()
    everything = queue.select(Selection(order=order)).tolist()
    avoid = set(chosen[:2] + chosen[4:7] + chosen[-2:])
    for position, index in enumerate(everything):
        after = [other for other in everything[position + 1 :] if other in chosen]
        before = [other for other in everything[:position] if other in chosen][::-1]
        for step, ahead in ((1, after), (-1, before)):
            free = [other for other in ahead if other not in avoid] or ahead
            found = queue.find(selection, index, step, avoid)
            assert found.item == (free[0] if free else None)
            assert found.total == len(chosen)
            if free:
                assert chosen[found.place] == found.item
        for step, ahead in ((0, [other for other in everything[position:] if other in chosen]), (1, after)):
            free = [other for other in ahead if other not in avoid]
            assert queue.page(selection, index, step, 3, avoid) == (free[:3], len(free), len(chosen))
    assert queue.find(selection, avoid=avoid).item == chosen[2]
    assert queue.page(selection, None, 0, 2, set(chosen)) == ([], 0, len(chosen))


def test_nothing_selected(queue):
    selection = Selection(cls='none')
    assert [queue.find(selection, at, step).item for at, step in ((None, 0), (3, 1), (3, -1))] == [None] * 3
    empty = ReviewQueue([], [], CLASSES)
    assert empty.find(Selection()) == Found(None, 0, 0)
    assert empty.progress() == {}


def test_progress(queue, rows):
    for name in CLASSES:
        own = [index for index, row in enumerate(rows) if row.cls == name]
        waiting = [i for i in own if decision_of(i) is None and queue.items[i].kind in ('undecided', 'suspect')]
        expected = (len(own) - sum(decision_of(index) is None for index in own), len(waiting))
        assert queue.progress_of(name) == expected
        assert queue.progress().get(name, (0, 0)) == expected
    assert queue.reviewed() == sum(done for done, _ in queue.progress().values())
    assert 0 < queue.waiting().sum() == sum(waiting for _, waiting in queue.progress().values())
    queue.set_decision(1, None)
    assert queue.reviewed() == sum(index % 4 > 0 for index in range(len(rows))) - 1


def test_suggestions(queue, rows):
    for item, row in zip(queue.items, rows, strict=True):
        if isinstance(row, Suspect):
            assert item.label == (row.label == 'positive')
            assert item.suggestion == 1 - item.label
        else:
            assert item.label is None
            assert item.suggestion == {'positive': 1, 'negative': 0, 'undecided': None}[row.decision]


def test_refusals():
    row = Recovered('1.jpg', 'a', 0.5, 'undecided')
    with pytest.raises(UserError, match=r"the label 'a' of 1\.jpg is listed twice"):
        ReviewQueue([row, row], [], CLASSES)
    with pytest.raises(UserError, match='classes that the record does not name: zebra'):
        ReviewQueue([row._replace(cls='zebra')], [], CLASSES)
    with pytest.raises(UserValueError, match="there is no class 'zebra'"):
        ReviewQueue([row], [], CLASSES).select(Selection(cls='zebra'))
    for bad in (dict(kind='x'), dict(state='x'), dict(order='x'), dict(low=0.5, high=0.4), dict(high=float('nan'))):
        with pytest.raises(UserValueError):
            Selection(**bad)


def test_millions_of_labels_are_numbers_and_an_object_only_for_whoever_looks(monkeypatch):
    from sarlp.apps.review import items

    rows = [Recovered(f'{i // 10}.jpg', f'c{i % 10}', 0.001 * (i % 900), 'undecided') for i in range(5000)]
    made, item = [], items.Item
    monkeypatch.setattr(items, 'Item', lambda *given: made.append(1) or item(*given))
    queue = ReviewQueue(rows, [], [f'c{i}' for i in range(10)])
    queue.renew(np.full(5000, 0.25), np.where(np.arange(5000) % 2, 1, -1))
    assert queue.index_of(('7.jpg', 'c3')) == 73 and queue.index_of(('7.jpg', 'c30')) is None
    assert queue.of_image('499.jpg') == [*range(4990, 5000)] and queue.index_of(('500.jpg', 'c3')) is None
    assert queue.blanks() == (2500, 5000) and queue.find(Selection(kind='suggested')).total == 2500
    assert not made
    assert queue.items[73] == item('7.jpg', 'c3', 0.25, 'suggested', 1, None) and len(made) == 1
