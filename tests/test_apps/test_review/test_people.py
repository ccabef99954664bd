"""Several people at one review: whose answers hold, what each may undo, and that nothing of anybody's is lost."""

import json
import multiprocessing
import random
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from sarlp.apps.review import DecisionLog, Review, log_path, server
from sarlp.apps.review.history import History
from sarlp.apps.review.leases import Leases
from sarlp.apps.review.log_line import Line
from sarlp.apps.review.session import Answer, Conflict
from sarlp.errors import UserError

from .conftest import lines

pytestmark = pytest.mark.filterwarnings('ignore:This process .* is multi-threaded')  # of fork in Python 3.12
NAMES = {1: 'positive', 0: 'negative', -1: 'undecided', None: None}


class Slow:
    """Every answer in a list; what holds is looked for in all of it."""

    def __init__(self):
        self.answers = []  # [by, decisions, whether it is taken back]

    def top(self, pair):
        holding = [n for n, (_, decisions, gone) in enumerate(self.answers, 1) if pair in decisions and not gone]
        return holding[-1] if holding else 0

    def decision(self, pair):
        return self.answers[self.top(pair) - 1][1][pair] if self.top(pair) else None

    def undoable(self, by):
        for number in range(len(self.answers), 0, -1):
            who, decisions, gone = self.answers[number - 1]
            if who in (by, None) and not gone and any(self.top(pair) == number for pair in decisions):
                return number
        return 0


def test_against_a_plain_list(tmp_path):
    """Pages and single answers of three people and of nobody, undone by each, with restarts in between."""
    chance = random.Random(5)
    pairs = [(f'{image}.jpg', name) for image in range(5) for name in 'ab']
    people = ('x', 'y', 'z', None)
    slow, path = Slow(), tmp_path / 'log.jsonl'
    log = DecisionLog(path)
    undone = partly = 0
    for step in range(300):
        by = chance.choice(people)
        if chance.random() < 0.35:
            number = slow.undoable(by)
            tops = {pair: slow.top(pair) for pair in pairs}
            back = log.undo(log.undoable(by), by)
            if not number:
                assert back is None
            else:
                slow.answers[number - 1][2] = True
                own = [pair for pair in pairs if tops[pair] == number]
                assert back == {pair: slow.decision(pair) for pair in own}
                undone += 1
                partly += len(own) < len(slow.answers[number - 1][1])
        else:
            page = {pair: chance.choice([1, 0, -1, None]) for pair in chance.sample(pairs, chance.choice([1, 1, 3, 7]))}
            changed = {pair: code for pair, code in page.items() if slow.decision(pair) != code}
            log.decide(page, by)
            if changed:
                slow.answers.append([by, changed, False])
        if step % 29 == 0:
            log.close()
            log = DecisionLog(path)
        assert log.decided == {pair: slow.decision(pair) for pair in pairs if slow.decision(pair) is not None}
        assert [log.held(pair).answer for pair in pairs] == [slow.top(pair) for pair in pairs]
        assert [log.undoable(person) for person in people] == [slow.undoable(person) for person in people]
    log.close()
    assert undone > 20 and partly > 5


def test_log_of_an_earlier_version(tmp_path):
    """Answers without numbers or names; whoever comes first may undo them."""
    path = tmp_path / 'log.jsonl'
    rest = '"class": "c", "time": "2026-11-23T20:15:02+00:00"'
    old = [
        f'{{"image": "a", "decision": "positive", {rest}}}',
        f'{{"image": "b", "decision": "negative", {rest}}}',
        f'{{"image": "a", "decision": "undecided", {rest}}}',
        f'{{"image": "a", "decision": "positive", "undo": true, {rest}}}',
        f'{{"image": "d", "decision": "negative", {rest}}}',
    ]
    path.write_text('\n'.join(old) + '\n', encoding='utf-8')
    with DecisionLog(path) as log:
        assert log.decided == {('a', 'c'): 1, ('b', 'c'): 0, ('d', 'c'): 0}
        log.decide({('e', 'c'): 1}, 'x')
        assert [log.undo(log.undoable('y'), 'y') for _ in range(4)] == [
            {('d', 'c'): None},
            {('b', 'c'): None},
            {('a', 'c'): None},
            None,
        ]
        assert log.decided == {('e', 'c'): 1}
    assert lines(path)[:5] == old


def test_lines_that_somebody_removed(tmp_path):
    """What the last line says holds, whatever is missing before it."""
    path = tmp_path / 'log.jsonl'
    with DecisionLog(path) as log:
        for decision in (1, 0, -1):
            log.decide({('a', 'c'): decision, ('b', 'c'): decision}, 'x')
        log.undo(3, 'x')
    whole = lines(path)
    assert len(whole) == 4
    for missing in range(4):
        path.write_text('\n'.join(whole[:missing] + whole[missing + 1 :]) + '\n', encoding='utf-8')
        with DecisionLog(path) as log:
            expected = -1 if missing == 3 else 0
            assert log.decided == {('a', 'c'): expected, ('b', 'c'): expected}
            while log.undoable('x'):
                log.undo(log.undoable('x'), 'x')


def test_half_a_page_is_never_read(tmp_path):
    path = tmp_path / 'log.jsonl'
    page = {(f'{index}.jpg', 'c'): index % 2 for index in range(7)}
    with DecisionLog(path) as log:
        log.decide(page, 'x')
    line = path.read_bytes()
    for cut in range(0, len(line), 13):
        path.write_bytes(line[:cut])
        with DecisionLog(path, read_only=True) as log:
            assert log.decided == {}
    history = History()
    history.apply(Line.decode(line[:-1]))
    assert {pair: history.held(pair).decision for pair in page} == page


def test_all_or_none(review):
    """A page with one label that somebody else answered: nothing of it is saved."""
    review.answer([Answer(3, 1, 0)], 'x')
    before = review.log.path.read_bytes()
    with pytest.raises(Conflict) as conflict:
        review.answer([Answer(2, 0, 0), Answer(3, 0, 0), Answer(4, 0, 0)], 'y')
    assert conflict.value.items == [3]
    assert [review.queue.decision(index) for index in (2, 3, 4)] == [None, 1, None]
    assert review.log.path.read_bytes() == before
    review.answer([Answer(2, 0, 0), Answer(3, 0, review.log.held(review.queue.items[3].pair).answer)], 'y')
    assert [review.queue.decision(index) for index in (2, 3)] == [0, 0]
    assert len(lines(review.log.path)) == 2


def test_the_same_answer_twice(review):
    """A reply that was lost: the same person's same answers are no conflict, another's or other ones are."""
    page = [Answer(0, 1, 0), Answer(1, 0, 0)]
    review.answer(page, 'x')
    review.answer(page, 'x')
    assert len(lines(review.log.path)) == 1
    for other, by in ((page, 'y'), (page, None), ([Answer(0, 0, 0)], 'x')):
        with pytest.raises(Conflict):
            review.answer(other, by)


def test_leases():
    now = [0.0]
    leases = Leases(lambda: now[0])
    leases.take('x', [1, 2])
    leases.take(None, [3])
    now[0] = 299
    leases.take('y', [2, 5])
    assert (leases.of_others('x'), leases.of_others('y'), leases.of_others(None)) == ({2, 5}, {1, 2}, {1, 2, 5})
    now[0] = 301  # those of x have expired
    assert leases.of_others(None) == {2, 5}
    leases.take('y', [])
    assert leases.of_others(None) == set()
    for client in range(1000):
        leases.take(str(client), [client])
    assert leases.of_others(None) == set(range(1000 - 256, 1000))


def test_an_answer_is_shown_as_soon_as_it_counts_as_seen(made):
    """On disk already, and not yet in the queue: who is told its number is told what it is."""
    review = Review(made.table)
    page = server.create_app(review, 8017).test_client()
    review.log.decide({review.queue.items[0].pair: 1}, 'x')
    item = page.get('/api/item?at=0', base_url='http://127.0.0.1:8017').json['item']
    review.close()
    assert (item['index'], item['decision'], item['seen']) == (0, 'positive', 1)


def test_a_page_counts_as_its_labels(made):
    """Who learns after every so many decisions is told of all of them."""
    review, told = Review(made.table), []
    review.on_decision = told.append
    review.decide(0, 1)
    review.answer([Answer(item, 0, 0) for item in (1, 2, 3)], 'x')
    review.undo(review.log.undoable('x'), 'x')
    review.close()
    assert told == [1, 3, 3]


# --- real clients of a real server ------------------------------------------------------------------------


def ask(address, client, path, body=None):
    """Status and answer."""
    headers = {'Sarlp-Client': client, 'Content-Type': 'application/json'}
    content = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, content, headers), timeout=60) as answer:
            return 200, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def work_through(address, client, labels, report):
    """Answer every label, as if all had been on the screen from the beginning, some by pages and some alone."""
    chance = random.Random(client)
    waiting = list(range(len(labels)))
    accepted, refused = {}, []
    while waiting:
        items, waiting = waiting[: (size := chance.choice([1, 2, 5]))], waiting[size:]
        page = []
        for item in items:
            image, name = labels[item]
            decision = chance.choice(['positive', 'negative', 'undecided'])
            page.append({'item': item, 'image': image, 'class': name, 'decision': decision, 'seen': 0})
        while page:
            if len(page) == 1:
                status, answer = ask(address, client, '/api/decide', {'answer': page[0], 'selection': {}})
            else:
                status, answer = ask(address, client, '/api/answers', {'answers': page})
            if status == 200:
                accepted |= {one['item']: one['decision'] for one in page}
                break
            assert status == 409, answer
            taken = {item['index'] for item in answer['conflicts']}
            assert taken and all(item['decision'] and item['seen'] for item in answer['conflicts'])
            refused += taken
            page = [one for one in page if one['item'] not in taken]
    report(client, accepted, refused)


def follow_the_queue(address, client, labels, report):
    """Answer what the server hands out next, until nothing is open; every third time as a grid."""
    accepted, refused, number = {}, [], 0
    while True:
        number += 1
        _, answer = ask(address, client, '/api/item?state=open')
        item = answer['item']
        if item is None:
            break
        items = [item]
        if number % 3 == 0:
            _, answer = ask(address, client, f'/api/grid?number=3&class={urllib.parse.quote(item["class"])}')
            items = answer['items'] or items
        page = [
            {key: one[key] for key in ('image', 'class', 'seen')} | {'item': one['index'], 'decision': 'negative'}
            for one in items
            if one['decision'] is None  # else somebody decided on it while it was handed out, which the page shows
        ]
        if not page:
            continue
        status, answer = ask(address, client, '/api/answers', {'answers': page})
        if status == 200:
            accepted |= {one['item']: 'negative' for one in page}
        else:
            refused += [one['index'] for one in answer['conflicts']]
    report(client, accepted, refused)


def at_once(kind, work, address, labels):
    """Three clients, each with its report."""
    queue = multiprocessing.get_context('fork').Queue() if kind == 'processes' else None
    reports = []

    def report(*content):
        reports.append(content) if queue is None else queue.put(content)

    start = threading.Thread if queue is None else multiprocessing.get_context('fork').Process
    clients = [start(target=work, args=(address, name, labels, report)) for name in ('x', 'y', 'z')]
    for client in clients:
        client.start()
    if queue is not None:
        reports = [queue.get(timeout=200) for _ in clients]
    for client in clients:
        client.join(200)
    assert len(reports) == 3
    return reports


@pytest.mark.parametrize('kind', ['threads', 'processes'])
@pytest.mark.parametrize('work', [work_through, follow_the_queue])
def test_three_at_once(made, serve, kind, work):
    """Every label is kept once, whoever came second was refused, and the log has all of it."""
    _, address = serve()
    labels = [row[:2] for row in [*made.recovered, *made.suspects]]
    reports = at_once(kind, work, address, labels)
    accepted = [item for _, own, _ in reports for item in own]
    assert sorted(accepted) == list(range(len(labels)))
    if work is work_through:  # three answers to each label, and two of them refused
        assert sorted(item for _, _, refused in reports for item in refused) == sorted([*range(len(labels))] * 2)
    written = {}
    for line in lines(log_path(made.table)):
        content = json.loads(line)
        for label in content.get('labels', [content]):
            pair = label['image'], label['class']
            assert pair not in written
            written[pair] = (content['by'], label['decision'])
    assert written == {labels[item]: (client, word) for client, own, _ in reports for item, word in own.items()}
    with DecisionLog(log_path(made.table), read_only=True) as log:
        assert {pair: NAMES[code] for pair, code in log.decided.items()} == {
            pair: word for pair, (_, word) in written.items()
        }


def test_they_are_handed_different_labels(made, serve):
    """In front of three people there are three labels and three pages, as long as there are enough."""
    _, address = serve()
    one = [ask(address, client, '/api/item?state=open')[1]['item']['index'] for client in 'xyz']
    assert len(set(one)) == 3
    assert ask(address, 'x', f'/api/item?state=open&at={one[0]}')[1]['item']['elsewhere'] is False
    assert ask(address, 'y', f'/api/item?state=open&at={one[0]}')[1]['item']['elsewhere'] is True
    pages = [ask(address, client, '/api/grid?number=3&class=cat')[1] for client in 'xyz']
    shown = [item['index'] for page in pages for item in page['items']]
    assert len(shown) == len(set(shown)) == 9
    assert len({page['total'] for page in pages}) == 1


def _open(table, ready, done, queue):
    ready.wait(60)
    try:
        review = Review(table)
    except UserError as error:
        queue.put(str(error))
        return
    queue.put('')
    done.wait(60)  # until the others have tried
    review.answer([Answer(0, 1, 0)], 'x')
    review.close()


def test_three_servers(made):
    """Of three processes that open the same review at the same time one gets it."""
    context = multiprocessing.get_context('fork')
    ready, done, queue = context.Barrier(3), context.Event(), context.Queue()
    processes = [context.Process(target=_open, args=(made.table, ready, done, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    answers = sorted(queue.get(timeout=60) for _ in processes)
    assert answers[0] == '' and all('another review of this file is running' in answer for answer in answers[1:])
    done.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(lines(log_path(made.table))) == 1
