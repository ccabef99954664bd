"""The log of decisions: nothing acknowledged is lost, nothing unacknowledged comes up, one process writes."""

import http.client
import json
import os
import random
import signal
import threading
import urllib.request

import pytest

from sarlp.apps.review import DecisionLog, Review, log_path
from sarlp.errors import UserError

from .conftest import CLASSES

DOG = CLASSES[1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'recovered.review.jsonl'


def test_name():
    assert str(log_path('a/b.x.csv')) == 'a/b.x.review.jsonl'


@pytest.mark.parametrize('replaced', [False, True])
def test_a_log_that_was_removed_takes_no_answer(path, replaced):
    """Moved away and put back it goes on; nothing is acknowledged meanwhile."""
    with DecisionLog(path) as log:
        log.decide({('a.jpg', DOG): 1})
        path.rename(path.with_suffix('.old'))
        if replaced:
            path.write_bytes(path.with_suffix('.old').read_bytes())
        with pytest.raises(OSError, match='removed or replaced while the review was running'):
            log.decide({('b.jpg', DOG): 0})
        assert log.decided == {('a.jpg', DOG): 1}
        path.with_suffix('.old').replace(path)
        log.decide({('c.jpg', DOG): 0})
    with DecisionLog(path, read_only=True) as log:
        assert log.decided == {('a.jpg', DOG): 1, ('c.jpg', DOG): 0}


def test_against_a_plain_list(path):
    """Random decisions, some undone, with restarts in between, against a list of them all."""
    chance = random.Random(3)
    pairs = [(image, name) for image in ('a.jpg', 'ü "1".jpg') for name in CLASSES]
    history = []  # (pair, decision)
    log = DecisionLog(path)

    def expected():
        result = {}
        for pair, decision in history:
            if decision is None:
                result.pop(pair, None)
            else:
                result[pair] = decision
        return result

    for step in range(200):
        if chance.random() < 0.3 and history:
            pair, _ = history.pop()
            assert log.undo(log.undoable()) == {pair: expected().get(pair)}
        else:
            pair, decision = chance.choice(pairs), chance.choice([1, 0, -1, None])
            log.decide({pair: decision})
            if expected().get(pair) != decision:
                history.append((pair, decision))
        assert log.decided == expected()
        assert bool(log.undoable()) == bool(history)
        if step % 23 == 0:
            log.close()
            log = DecisionLog(path)
            assert log.decided == expected()
    while history:
        history.pop()
        assert log.undo(log.undoable())
    assert log.decided == {}
    assert log.undo(0) is None
    log.close()


def test_undo_that_was_meant_for_another_decision(path):
    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})
        log.decide({('b', 'x'): 0})
        assert log.undo(1) is None
        assert log.undo(2) == {('b', 'x'): None}
        assert log.undo(2) is None  # the same request once more
        assert log.decided == {('a', 'x'): 1}


def test_only_appended_to(path):
    with DecisionLog(path) as log:
        before = b''
        for decision in (1, 0, 0, None):
            log.decide({('a', DOG): decision})
            content = path.read_bytes()
            assert content.startswith(before)
            before = content
    written = [json.loads(line) for line in before.decode().splitlines()]
    assert [line['decision'] for line in written] == ['positive', 'negative', None]
    assert all(line['image'] == 'a' and line['class'] == DOG for line in written)


def test_torn_line(path):
    """Every place at which the last line may be cut."""
    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})
        whole = path.read_bytes()
        log.decide({('ü', 'x'): 0})
        line = path.read_bytes()[len(whole) :]
    for cut in range(1, len(line)):
        path.write_bytes(whole + line[:cut])
        with DecisionLog(path, read_only=True) as log:
            assert log.decided == {('a', 'x'): 1}
        assert path.read_bytes() == whole + line[:cut]  # somebody else may be writing it
        with (
            pytest.warns(UserWarning, match='the last line has no end, .* not acknowledged and is dropped'),
            DecisionLog(path) as log,
        ):
            assert log.decided == {('a', 'x'): 1}
        assert path.read_bytes() == whole
    with DecisionLog(path) as log:
        log.decide({('b', 'x'): -1})
    with DecisionLog(path) as log:
        assert log.decided == {('a', 'x'): 1, ('b', 'x'): -1}


@pytest.mark.parametrize(
    'bad',
    [
        b'',
        b'{"image": "a"',
        b'null',
        b'[1]',
        b'\xff',
        b'\0\0\0',
        b'{"image": "a", "class": "x", "decision": "maybe", "time": ""}',
        b'{"image": "a", "class": "x", "decision": ["positive"], "time": ""}',
        b'{"image": 1, "class": "x", "decision": "positive", "time": ""}',
        b'{"image": "a", "class": "x", "decision": "positive"}',
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "more": 1}',
        b'{"image": "a", "image": "b", "class": "x", "decision": "positive", "time": ""}',
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "undo": 0}',
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "undo": 1.0}',
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "undo": false}',
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "answer": 1}',  # as the line before
        b'{"image": "a", "class": "x", "decision": "positive", "time": "", "by": 3}',
        b'{"labels": [], "time": ""}',
        b'{"labels": [{"image": "a", "class": "x"}], "time": ""}',
        b'{"labels": [{"image": "a", "class": "x", "decision": null}], "image": "b", "time": ""}',
        b'{"labels": [{"image": "a", "class": "x", "decision": null}, {"image": "a", "class": "x", "decision": null}], '
        b'"time": ""}',
        b'[' * 100_000,
    ],
)
def test_bad_line(path, bad):
    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})
    good = path.read_bytes()
    content = good + bad + b'\n' + good
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        DecisionLog(path)
    assert str(error.value).startswith(f'{path}, line 2: expected a decision of the review, found ')
    assert len(str(error.value)) < 1000
    assert path.read_bytes() == content
    path.write_bytes(good)
    DecisionLog(path).close()  # the lock of the refused one is gone


@pytest.mark.parametrize('part', [0, 7])
def test_full_disk(path, part, monkeypatch):
    """A decision that could not be written does not hold, and does not come up later."""

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            return self.file.write(line[:part])

        def __getattr__(self, name):
            return getattr(self.file, name)

    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})
        real, log._file = log._file, Full(log._file)
        with pytest.raises(OSError, match=r'bytes could be written; is the disk full\?'):
            log.decide({('b', 'x'): 1})
        with pytest.raises(OSError, match='bytes could be written'):
            log.undo(1)
        assert log.decided == {('a', 'x'): 1}
        log._file = real
        log.decide({('c', 'x'): 0})
    with DecisionLog(path) as log:
        assert log.decided == {('a', 'x'): 1, ('c', 'x'): 0}


def test_disk_that_fails_for_good(path, monkeypatch):
    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})

        def fail(_):
            raise OSError(5, 'Input/output error')

        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', fail)
            with pytest.raises(OSError, match='Input/output error'):
                log.decide({('b', 'x'): 1})
        with pytest.raises(OSError, match='what was written could not be removed'):
            log.decide({('c', 'x'): 1})
        assert log.decided == {('a', 'x'): 1}


def test_one_writer(path):
    with DecisionLog(path) as log:
        log.decide({('a', 'x'): 1})
        with pytest.raises(UserError, match='another review of this file is running'):
            DecisionLog(path)
        with DecisionLog(path, read_only=True) as reader:
            assert reader.decided == {('a', 'x'): 1}
            with pytest.raises(OSError, match='reading only'):
                reader.decide({('a', 'x'): 0})
    DecisionLog(path).close()


def test_reading_makes_no_file(path):
    assert DecisionLog(path, read_only=True).decided == {}
    assert not path.exists()


@pytest.mark.filterwarnings('ignore:This process .* is multi-threaded')  # of fork in Python 3.12
@pytest.mark.filterwarnings('ignore:.*the last line has no end')
@pytest.mark.parametrize('after', [5, 23])
def test_killed_while_deciding(serve, made, after):
    """kill -9 while three clients post: what was acknowledged is there, and beside it at most what was under way."""
    process, address = serve()
    rows = made.recovered
    acknowledged, sent, seen = {}, {}, {}
    enough = threading.Event()

    def post(part):
        number = 0
        while not enough.is_set() or number < 1000:
            index = part + 3 * (number % (len(rows) // 3))
            image, name, *_ = rows[index]
            decision = ('positive', 'negative', 'undecided')[(number // (len(rows) // 3) + index) % 3]
            sent[image, name] = decision
            answer = {'item': index, 'image': image, 'class': name, 'decision': decision, 'seen': seen.get(index, 0)}
            body = {'answer': answer, 'selection': {}}
            request = urllib.request.Request(
                f'{address}/api/decide', json.dumps(body).encode(), {'Content-Type': 'application/json'}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    saved = json.load(reply)['saved']
                    assert saved['decision'] == decision
                    seen[index] = saved['seen']
            except (OSError, http.client.HTTPException):  # also between the head of an answer and its body
                return
            acknowledged[image, name] = decision
            number += 1
            if number == after:
                enough.set()

    threads = [threading.Thread(target=post, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    process.join(60)  # its lock is let go of when it has ended, which takes a moment
    assert len(acknowledged) >= 5
    review = Review(made.table)
    codes = {'positive': 1, 'negative': 0, 'undecided': -1}
    different = {pair for pair, decision in acknowledged.items() if review.log.decided.get(pair) != codes[decision]}
    # one that was under way when the server died may have reached the disk
    assert all(review.log.decided.get(pair) == codes[sent[pair]] for pair in different)
    assert len(different) <= 3
    assert review.log.decided.keys() <= sent.keys()
    assert len(review.log.decided.keys() - acknowledged.keys()) <= 3
    for pair, decision in review.log.decided.items():
        assert review.queue.decision(review.queue.index_of(pair)) == decision
    review.close()
