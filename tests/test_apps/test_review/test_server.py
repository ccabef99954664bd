"""The server: its answers, what it refuses, and the tool that starts it."""

import builtins
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from sarlp.apps.completion.record import HEADER, write_table
from sarlp.apps.review import Review, server, thumbnails
from sarlp.apps.review.maps import AttentionMaps
from sarlp.errors import UserError
from sarlp.inference import Predictor, init_model
from sarlp.paths import shipped
from sarlp.visualization.attention import attention_maps, scale_map

from .conftest import CLASSES, lines, name_of

PORT = 8017
BASE = f'http://127.0.0.1:{PORT}'


@pytest.fixture
def client(review):
    return server.create_app(review, PORT, AttentionMaps(review.record)).test_client()


@pytest.fixture
def get(client):
    return lambda path, **headers: client.get(path, base_url=BASE, headers=headers, buffered=True)


@pytest.fixture
def post(client):
    return lambda path, body, **headers: client.post(path, json=body, base_url=BASE, headers=headers)


def answer_to(review, index, word='positive', **more):
    item = review.queue.items[index]
    seen = review.log.held(item.pair).answer
    return {'item': index, 'image': item.image, 'class': item.cls, 'decision': word, 'seen': seen, **more}


def decision(review, index, word='positive', selection=None, **more):
    return {'answer': answer_to(review, index, word, **more), 'selection': selection or {}}


class TestAnswers:
    def test_overview(self, get, review):
        answer = get('/api/review').json
        assert answer['total'] == len(review.queue)
        assert [entry['name'] for entry in answer['classes']] == list(CLASSES)
        assert sum(entry['counts'][1] for entry in answer['classes']) == answer['waiting'] < len(review.queue)
        assert answer['waiting'] == sum(item.kind != 'suggested' for item in review.queue.items)
        assert answer['no_maps'] is None

    def test_walk_through_a_selection(self, get, review, made):
        rows = made.recovered
        expected = [i for i, row in enumerate(rows) if row[1] == CLASSES[1] and 0.2 <= row[2] <= 0.7]
        expected.sort(key=lambda index: -rows[index][2])
        query = {'class': CLASSES[1], 'low': '0.2', 'high': '0.7', 'order': 'highest', 'state': 'open', 'kind': ''}
        answer = get('/api/item?' + urllib.parse.urlencode(query)).json
        seen = []
        while answer['item'] is not None:
            assert (answer['place'], answer['total']) == (len(seen), len(expected))
            assert answer['item']['probability'] == rows[answer['item']['index']][2]
            seen.append(answer['item']['index'])
            assert answer['next'] == (expected[len(seen)] if len(seen) < len(expected) else None)
            answer = get('/api/item?' + urllib.parse.urlencode({**query, 'at': seen[-1], 'step': 1})).json
        assert seen == expected
        assert len(seen) > 1

    def test_decide_and_undo(self, post, get, review):
        first = get('/api/item?state=open').json
        index = first['item']['index']
        answer = post('/api/decide', decision(review, index, 'negative', selection={'state': 'open'})).json
        assert answer['saved']['decision'] == 'negative'
        assert json.loads(lines(review.log.path)[-1])['decision'] == 'negative'
        assert answer['item']['index'] == first['next']
        assert answer['total'] == first['total'] - 1
        assert (answer['reviewed'], answer['undoable']) == (1, 1)
        assert answer['progress'] == {first['item']['class']: [1, review.queue.progress_of(first['item']['class'])[1]]}
        assert post('/api/undo', {'undoable': 3, 'selection': {}}).status_code == 409
        answer = post('/api/undo', {'undoable': 1, 'selection': {'state': 'open'}}).json
        assert answer['item'] == first['item']
        assert (answer['reviewed'], answer['undoable'], answer['total']) == (0, 0, first['total'])
        assert post('/api/undo', {'undoable': 0, 'selection': {}}).status_code == 409

    def test_disk_that_refuses(self, post, review, monkeypatch):
        def fail(_):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(os, 'fsync', fail)
        answer = post('/api/decide', decision(review, 0))
        assert answer.status_code == 500
        assert 'No space left on device' in answer.json['error']
        assert review.queue.decision(0) is None

    def test_table_that_changed(self, post, review):
        answer = post('/api/decide', decision(review, 0, image='other.png'))
        assert answer.status_code == 409
        assert 'reload the page' in answer.json['error']
        assert not review.log.decided

    @pytest.mark.parametrize('reviewed_only', [False, True])
    def test_export(self, post, review, reviewed_only):
        answer = post('/api/export', {'reviewed_only': reviewed_only}).json
        assert (answer['suggested'] > 0, answer['notes']) == (not reviewed_only, [])
        assert answer['files'].keys() == {'train', 'test', 'source'}
        assert all(os.path.isabs(path) and os.path.isfile(path) for path in answer['files'].values())

    @pytest.mark.parametrize('path', ['/api/item?at=x', '/api/item?step=2', '/api/item?low=0.5&high=0.4',
        '/api/item?low=nan', '/api/item?class=zebra', '/api/item?order=x', '/api/item?state=x'])  # fmt: skip
    def test_bad_questions(self, get, path):
        answer = get(path)
        assert answer.status_code == 400
        assert answer.json['error']

    @pytest.mark.parametrize(
        'change',
        [{'decision': 'maybe'}, {'decision': 1}, {'item': '0'}, {'item': True}, {'item': 10**9}, {'item': -1},
         {'more': 1}, {'seen': '0'}, {'seen': True}, {'seen': None}],
    )  # fmt: skip
    def test_bad_answers(self, post, review, change):
        bad = answer_to(review, 0) | change
        assert post('/api/decide', {'answer': bad, 'selection': {}}).status_code in (400, 404)
        assert post('/api/answers', {'answers': [answer_to(review, 1), bad]}).status_code in (400, 404)
        assert not review.log.decided

    @pytest.mark.parametrize(
        'body', [['x'], {}, {'selection': 'x'}, {'selection': {'low': []}}, {'selection': {'class': 3}}, {'more': 1}]
    )
    def test_bad_decisions(self, post, review, body):
        assert (
            post('/api/decide', decision(review, 0) | body if body and isinstance(body, dict) else body).status_code
            == 400
        )
        assert not review.log.decided


class TestMany:
    def test_grid(self, get, review, made):
        """Pages of the open labels of a class, in order, one after another."""
        rows = made.recovered
        expected = [i for i, row in enumerate(rows) if row[1] == CLASSES[1] and row[2] >= 0.2]
        expected.sort(key=lambda index: -rows[index][2])
        review.decide(expected.pop(4), 1)
        query = {'class': CLASSES[1], 'low': '0.2', 'order': 'highest', 'kind': '', 'state': 'reviewed', 'number': 3}
        kind = {i for i, item in enumerate(review.queue.items) if item.kind == 'suspect'}
        seen, at = [], {}
        while True:
            answer = get('/api/grid?' + urllib.parse.urlencode({**query, **at})).json
            page = [item['index'] for item in answer['items']]
            assert all((item['evidence'] == 'in sample') == (item['kind'] == 'suspect') for item in answer['items'])
            if not page:
                break
            assert len(page) <= 3 and answer['ahead'] == answer['total'] - len(seen)
            seen += page
            at = {'at': page[-1], 'step': 1}
        assert [index for index in seen if index not in kind] == expected
        assert len(expected) > 4
        again = get('/api/grid?' + urllib.parse.urlencode({**query, 'at': seen[2]})).json
        assert [item['index'] for item in again['items']] == seen[2:5]

    def test_a_page_of_answers(self, post, review):
        page = [answer_to(review, index, word) for index, word in ((2, 'positive'), (0, 'negative'), (5, 'undecided'))]
        mine = {'Sarlp-Client': 'x'}
        answer = post('/api/answers', {'answers': page}, **mine).json
        assert (answer['reviewed'], answer['undoable']) == (3, 1)
        names = {one['class'] for one in page}
        assert answer['progress'] == {name: list(review.queue.progress_of(name)) for name in names}
        assert [review.queue.decision(index) for index in (2, 0, 5)] == [1, 0, -1]
        assert len(lines(review.log.path)) == 1
        # of somebody else, neither to be undone nor to be overwritten unseen
        other = {'Sarlp-Client': 'y'}
        assert post('/api/undo', {'undoable': 1, 'selection': {}}, **other).status_code == 409
        page = [answer_to(review, 1), answer_to(review, 2, 'negative', seen=0)]
        refused = post('/api/answers', {'answers': page}, **other)
        assert refused.status_code == 409
        assert [(one['index'], one['decision'], one['seen']) for one in refused.json['conflicts']] == [
            (2, 'positive', 1)
        ]
        assert review.queue.decision(1) is None
        answer = post('/api/undo', {'undoable': 1, 'selection': {}}, **mine).json
        assert (answer['undone'], answer['item']['index'], answer['reviewed']) == ([2, 0, 5], 2, 0)
        assert review.log.decided == {}

    def test_bad_pages(self, get, post, review):
        one = answer_to(review, 0)
        for page in ([], {}, [one, one], [one, 'x'], [one, None], [one] * 101, 'x', None):
            assert post('/api/answers', {'answers': page}).status_code == 400
        assert post('/api/answers', {'answers': [one, answer_to(review, 1, image='other.png')]}).status_code == 409
        assert post('/api/answers', {'answers': [answer_to(review, 0, image='x' * 300_000)]}).status_code == 413
        assert not review.log.decided
        for query in ('', 'class=', 'class=zebra', 'class=cat&number=101', 'class=cat&number=0', 'class=cat&number=x',
                      'class=cat&step=-1', 'class=cat&at=', 'class=cat&number=' + '9' * 5000):  # fmt: skip
            assert get(f'/api/grid?{query}').status_code == 400
        assert get('/api/grid?class=cat&at=100000').status_code == 404

    @pytest.mark.parametrize('name', ['', 'a b', 'a' * 65, '../x', 'é', '"'])
    def test_names_of_clients(self, post, get, review, name):
        assert post('/api/decide', decision(review, 0), **{'Sarlp-Client': name}).status_code == 400
        assert get('/api/item', **{'Sarlp-Client': name}).status_code == 400
        assert not review.log.decided

    def test_thumbnails(self, get, review, made, monkeypatch):
        """Small, of the whole image, and decoded once."""
        path = made.root / 'photos' / review.queue.items[0].image
        picture = np.zeros((600, 1100, 3), np.uint8)
        picture[:, 550:] = (10, 200, 30)
        path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())
        answer = get('/thumb/0')
        assert answer.mimetype == 'image/jpeg' and len(answer.data) < 20_000
        small = cv2.imdecode(np.frombuffer(answer.data, np.uint8), 1)
        assert small.shape == (140, 256, 3)
        np.testing.assert_allclose(small[70, [20, 235]], [[0, 0, 0], [10, 200, 30]], atol=4)
        with monkeypatch.context() as patch:
            patch.setattr(thumbnails, 'read_picture', None)
            assert get('/thumb/0').data == answer.data
        path.write_bytes(b'no image')
        assert get('/thumb/0').status_code == 404
        path.unlink()
        assert 'No such file' in get('/thumb/0').json['error']
        assert get(f'/thumb/{len(review.queue)}').status_code == 404

    def test_thumbnails_are_forgotten(self, tmp_path, monkeypatch):
        kept = thumbnails.Thumbnails()
        for index in range(5):
            noise = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
            (tmp_path / f'{index}.png').write_bytes(cv2.imencode('.png', noise)[1].tobytes())
        size = max(len(kept.picture(tmp_path / f'{index}.png')) for index in range(5))
        monkeypatch.setattr(thumbnails, '_KEPT', 3 * size)
        kept = thumbnails.Thumbnails()
        for index in (0, 1, 0, 2, 3):
            kept.picture(tmp_path / f'{index}.png')
        assert [path.name for path, *_ in kept._kept] == ['0.png', '2.png', '3.png']
        assert kept._size == sum(map(len, kept._kept.values())) <= 3 * size


class TestPictures:
    def test_image(self, get, review, made):
        for index, item in enumerate(review.queue.items[:5]):
            answer = get(f'/image/{index}')
            assert answer.mimetype == 'image/png'
            assert answer.data == (made.root / 'photos' / item.image).read_bytes()
        assert get(f'/image/{len(review.queue)}').status_code == 404

    def test_what_browsers_do_not_show(self, get, review, made):
        pixels = np.full((31, 17, 3), (200, 100, 50), np.uint8)
        path = made.root / 'photos' / 'a.tif'
        path.write_bytes(cv2.imencode('.tif', pixels)[1].tobytes())
        review.queue.items = [review.queue.items[0]._replace(image='a.tif'), *review.queue.items[1:]]
        answer = get('/image/0')
        assert answer.mimetype == 'image/jpeg'
        np.testing.assert_allclose(cv2.imdecode(np.frombuffer(answer.data, np.uint8), 1), pixels, atol=3)
        path.write_bytes(b'no image')
        assert get('/image/0').status_code == get('/map/0').status_code == 404
        path.unlink()
        assert 'the image is missing' in get('/image/0').json['error']

    def test_outside(self, get, review, made, tmp_path):
        (tmp_path / 'secret.png').write_bytes(b'secret')
        (made.root / 'photos' / 'link.png').symlink_to(tmp_path / 'secret.png')
        for image in ('link.png', '../../secret.png', str(tmp_path / 'secret.png')):
            review.queue.items = [review.queue.items[0]._replace(image=image), *review.queue.items[1:]]
            for kind in ('image', 'map', 'thumb'):
                answer = get(f'/{kind}/0')
                assert answer.status_code == 400
                assert b'secret"' not in answer.data
                assert 'leads out of the folder' in answer.json['error']
        for path in ('/image/../labels.csv', '/image/0/../../labels.csv', '/image/photos/x.png', '/static/../server.py',
                     '/image/-1', '/thumb/-1', '/thumb/0/../../labels.csv', '/thumb/photos/x.png',
                     '/static/%2e%2e/server.py'):  # fmt: skip
            assert get(path).status_code == 404

    def test_map(self, get, review, made):
        """Against the model asked directly: plain where there is no attention, red where there is most."""
        predictor = Predictor(init_model(review.record.load_config(), review.record.checkpoints[0]))
        for index, item in enumerate(review.queue.items[:3]):
            image = cv2.imread(str(made.root / 'photos' / item.image))
            outputs = predictor(made.root / 'photos' / item.image)
            maps = attention_maps(outputs['token_scores'], outputs['grid'])
            heat = scale_map(maps[CLASSES.index(item.cls)], image.shape[:2])
            colours = cv2.cvtColor(np.rint(_jet(heat) * 255).astype(np.float32), cv2.COLOR_RGB2BGR)
            share = 0.6 * heat[..., None]
            answer = get(f'/map/{index}')
            assert answer.mimetype == 'image/jpeg'
            actual = cv2.imdecode(np.frombuffer(answer.data, np.uint8), 1)
            encoded = cv2.imencode('.jpg', (share * colours + (1 - share) * image).round().astype(np.uint8),
                [cv2.IMWRITE_JPEG_QUALITY, 92])[1]  # fmt: skip
            expected = cv2.imdecode(encoded, 1)
            assert np.abs(actual.astype(int) - expected).mean() < 1
            assert np.abs(actual.astype(int) - image).mean() > 2

    def test_no_checkpoint(self, get, review, monkeypatch):
        review.record.checkpoints[0].unlink()
        for _ in range(2):
            answer = get('/map/0')
            assert answer.status_code == 404
            assert 'model' in answer.json['error']
        assert get('/image/0').status_code == 200

    def test_switched_off(self, review):
        client = server.create_app(review, PORT, None, 'why not').test_client()
        assert client.get('/map/0', base_url=BASE).json == {'error': 'why not'}
        assert client.get('/api/review', base_url=BASE).json['no_maps'] == 'why not'


def _jet(values):
    import matplotlib

    return matplotlib.colormaps['jet'](values)[..., :3]


class TestOthers:
    """Pages of other sites, and names that they gave to this machine."""

    @pytest.mark.parametrize(
        'path', ['/', '/api/review', '/api/grid?class=cat', '/image/0', '/thumb/0', '/static/review.js', '/nothing']
    )
    @pytest.mark.parametrize(
        'host', ['evil.example', f'evil.example:{PORT}', 'localhost', '127.0.0.1:80', f'127.0.0.1.evil.example:{PORT}',
        f'[::1]:{PORT}', f'localhost.:{PORT}', f'0.0.0.0:{PORT}'],
    )  # fmt: skip
    def test_host(self, client, path, host):
        answer = client.get(path, base_url=f'http://{host}', headers={'Host': host}, buffered=True)
        assert answer.status_code == 403
        assert b'six' not in answer.data
        assert client.get('/', base_url=f'http://localhost:{PORT}').status_code == 200

    @pytest.mark.parametrize(
        'headers',
        [{'Origin': 'http://evil.example'}, {'Origin': 'null'}, {'Origin': f'https://127.0.0.1:{PORT}'},
         {'Origin': 'http://127.0.0.1:9999'}, {'Origin': f'http://localhost:{PORT}'}, {'Origin': ''},
         {'Sec-Fetch-Site': 'cross-site'}, {'Sec-Fetch-Site': 'same-site'}],
    )  # fmt: skip
    @pytest.mark.parametrize('path', ['/api/decide', '/api/answers', '/api/undo', '/api/export'])
    def test_origin(self, post, review, path, headers):
        assert post(path, decision(review, 0), **headers).status_code == 403
        assert not review.log.decided
        assert not review.out_dir.exists()

    def test_own_page(self, post, review):
        headers = {'Origin': BASE, 'Sec-Fetch-Site': 'same-origin'}
        assert post('/api/decide', decision(review, 0), **headers).status_code == 200

    @pytest.mark.parametrize('kind', ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', ''])
    def test_forms(self, client, review, kind):
        body = json.dumps(decision(review, 0))
        assert client.post('/api/decide', data=body, content_type=kind, base_url=BASE).status_code == 415
        assert not review.log.decided

    def test_reading_changes_nothing(self, get, review):
        for path in ('/api/decide', '/api/answers', '/api/undo', '/api/export'):
            assert get(path).status_code == 405

    def test_long_requests(self, post, review):
        assert post('/api/decide', decision(review, 0, image='x' * 300_000)).status_code == 413

    @pytest.mark.parametrize(
        'path', ['/', '/api/review', '/image/0', '/thumb/0', '/map/0', '/static/review.css', '/nothing']
    )
    def test_headers(self, get, path):
        headers = get(path).headers
        assert headers['Content-Security-Policy'].startswith("default-src 'self';")
        assert 'unsafe' not in headers['Content-Security-Policy']
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Cross-Origin-Resource-Policy'] == 'same-origin'
        assert headers['Cache-Control'] in ('no-store', 'private, max-age=3600', 'max-age=3600, private')
        assert 'Access-Control-Allow-Origin' not in headers


def test_page_names_no_other_host_and_makes_no_markup():
    folder = Path(server.__file__).parent
    files = [*folder.glob('static/*'), *folder.glob('templates/*')]
    assert {path.name for path in files} == {
        'api.js', 'curve.js', 'export.js', 'grid.js', 'icon.svg', 'review.css', 'review.html', 'review.js'}  # fmt: skip
    for path in files:
        text = path.read_text(encoding='utf-8').replace('http://www.w3.org/2000/svg', '')
        assert not re.search(r'https?:|//[a-z]+\.|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(', text)


def test_large_table(made):
    """100,000 labels: a question is answered out of arrays, and nothing is sent but one item."""
    rows = [(name_of(i % 17) + f'.{i}.png', CLASSES[i % 3], (i * 7919 % 100_003) / 100_003, 'undecided')
            for i in range(100_000)]  # fmt: skip
    write_table(made.table, HEADER, rows)
    review = Review(made.table)
    client = server.create_app(review, PORT).test_client()
    answer = client.get('/api/item?order=highest&low=0.25&high=0.5', base_url=BASE)
    assert len(answer.data) < 2000
    assert answer.json['total'] == sum(0.25 <= round(row[2], 6) <= 0.5 for row in rows)
    assert len(client.get('/api/review', base_url=BASE).data) < 2000
    review.close()


def test_port_that_is_taken(review):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf'port {port} of 127\.0\.0\.1 can not be used .*--port'):
            server.serve(review, port)


def test_without_flask(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args):
        if name.partition('.')[0] == 'flask':
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(UserError, match=r"needs Flask: pip install 'sarlp\[review\]'"):
        runpy.run_path(server.__file__)


@pytest.mark.slow
def test_tool(made):
    """From the command line: it listens on the loopback interface alone, draws a map, and ends quietly at Ctrl-C."""
    command = [sys.executable, str(shipped('tools') / 'review_labels.py'), str(made.table), '--port', '0']
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # tests in the background have it ignored, and so would what they start
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            lines = iter(process.stdout.readline, '')  # the device and whether it learns come first
            address = next(filter(None, (re.search(r'http://127\.0\.0\.1:(\d+)', line) for line in lines)))
            with urllib.request.urlopen(f'{address[0]}/map/0', timeout=120) as answer:
                assert answer.headers['Content-Type'] == 'image/jpeg'
            table = [line.split() for line in Path('/proc/net/tcp').read_text().splitlines()[1:]]
            port = f'{int(address[1]):04X}'
            listening = [row[1] for row in table if row[3] == '0A' and row[1].endswith(f':{port}')]
            assert listening == [f'0100007F:{port}']
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert 'Traceback' not in process.stderr.read()
        finally:
            process.kill()
