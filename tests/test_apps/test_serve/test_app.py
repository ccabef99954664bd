"""What the web application answers and refuses, with a model that everybody can compute."""

import base64
import io
import re
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from sarlp.apps.serve.app import Limits, State, create_app
from sarlp.apps.serve.batches import Batcher
from sarlp.errors import UserError

from .conftest import Colours, picture


@pytest.fixture
def made():
    """Makes a client of an application, and ends what it began."""
    begun = []

    def make(model=None, limits=None, batcher=None, **options):
        batcher = Batcher(model or Colours(), **(batcher or {}))
        begun.append(batcher)
        return create_app(batcher, limits or Limits(), **options).test_client()

    yield make
    for batcher in begun:
        batcher.close()


def post(client, content, kind='image/png', **options):
    return client.post('/predict', data=content, content_type=kind, query_string=options)


def form(client, files, **fields):
    data = {**fields, 'images': [(io.BytesIO(content), name) for name, content in files.items()]}
    return client.post('/predict', data=data, content_type='multipart/form-data')


def expected(image):
    means = [float(f'{image[..., c].mean() / 255:.6g}') for c in range(3)]
    scores = dict(zip(Colours.classes, means, strict=True))
    chosen = [name for name, least in zip(Colours.classes, (0.5, 0.25, np.inf), strict=True) if scores[name] >= least]
    return {'classes': {name: scores[name] for name in sorted(chosen, key=lambda n: -scores[n])}, 'scores': scores}


def test_one_image_as_the_body(made, pictures):
    client = made()
    for image, content in pictures:
        answer = post(client, content)
        assert answer.status_code == 200
        assert answer.json == {
            'model': 'colours',
            'calibrated': False,
            'images': [{'image': '0', **expected(image)}],
        }
        assert [*answer.json['images'][0]['classes']] == [*expected(image)['classes']]  # highest first


def test_images_of_a_form(made, pictures):
    files = {f'{i} é.png': content for i, (_, content) in enumerate(pictures)}
    answer = form(made(), files)
    assert answer.json['images'] == [{'image': n, **expected(i)} for n, (i, _) in zip(files, pictures, strict=True)]


def test_options(made, pictures):
    client, (image, content) = made(), pictures[0]
    scores = expected(image)['scores']
    highest = sorted(scores, key=scores.get, reverse=True)
    found = post(client, content, top=2).json['images'][0]
    assert [*found['scores'].items()] == [(name, scores[name]) for name in highest[:2]]
    assert found['classes'] == expected(image)['classes']
    least = np.mean(sorted(scores.values())[:2])
    found = form(client, {'a': content}, threshold=str(least)).json['images'][0]
    assert [*found['classes']] == highest[:2] and len(found['scores']) == 3


def test_maps(made, pictures):
    client, (image, content) = made(), pictures[0]
    assert 'maps' not in post(client, content).json['images'][0]
    for options, names in (({}, {*expected(image)['classes']}), ({'top': 3}, {*Colours.classes})):
        maps = post(client, content, maps=1, **options).json['images'][0]['maps']
        assert {*maps} == names
        for name, text in maps.items():
            corner = image[:2, :3, Colours.classes.index(name)].astype(float)
            shown = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
            assert shown.dtype == np.uint8 and shown.shape == (2, 3)
            np.testing.assert_allclose(shown, 255 * corner / corner.max(), atol=0.501)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(top=0), 'top must be a whole number'),
        (dict(top='-1'), 'top must be'),
        (dict(threshold='nan'), 'threshold must be a number from 0 to 1'),
        (dict(threshold='x'), "got 'x'"),
        (dict(maps='yes'), 'maps must be 0 or 1'),
        (dict(topk=3), 'the options are top, threshold, maps, each once; got topk'),
        (dict(top=[1, 2]), 'one is there twice'),
    ],
)
def test_bad_options(made, pictures, options, message):
    answer = post(made(), pictures[0][1], **options)
    assert answer.status_code == 400 and message in answer.json['error']


def png_of(width, height):
    """A file of some bytes that says that it is so large."""

    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


JPEG = picture(0, (67, 41), '.jpg')[1]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'no image', 'is no image of these formats: .*JPEG'),
        (JPEG[:100], 'no image of these formats|cannot be read'),
        (png_of(101, 100), '101 x 100 pixels, and at most 10,000 are taken'),
        (png_of(60_000, 60_000), 'pixels.*smaller copy'),  # at which Pillow calls it a bomb
        (png_of(10, 10), 'cannot be read'),  # no pixels at all
        (b'\x89PNG\r\n\x1a\n', 'is no image'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'is no image'),  # which Pillow has Ghostscript draw
    ],
)
def test_bad_images(made, content, message):
    answer = post(made(limits=Limits(max_pixels=10_000)), content)
    assert answer.status_code == 400
    assert re.search(message, answer.json['error']), answer.json['error']


def test_a_broken_image_spoils_no_other(made, pictures):
    client = made()
    files = {'a.png': pictures[0][1], 'b.jpg': JPEG[:300], 'c.png': pictures[1][1]}
    answer = form(client, files)
    assert answer.status_code == 400 and 'b.jpg' in answer.json['error']
    first, broken, last = answer.json['images']
    assert (first, last) == tuple({'image': n, **expected(pictures[i][0])} for n, i in (('a.png', 0), ('c.png', 1)))
    assert broken == {'image': 'b.jpg', 'error': answer.json['error']}


@pytest.mark.parametrize('kind', ['text/plain', 'application/json', 'application/x-www-form-urlencoded', ''])
def test_other_content_types(made, pictures, kind):
    answer = post(made(), pictures[0][1], kind)
    assert answer.status_code == 415 and 'image/jpeg' in answer.json['error']


def test_bounds_of_an_upload(made, pictures):
    client = made(limits=Limits(max_bytes=3000, max_images=3))
    for answer in (
        post(client, bytes(3001)),
        form(client, {'a': bytes(3001)}),
        form(client, {str(i): pictures[0][1] for i in range(4)}),
        form(client, {str(i): b'' for i in range(99)}),
    ):
        assert answer.status_code == 413
        assert answer.json['error'].startswith('at most 3 images and 3,000 bytes in a request')
    assert form(client, {str(i): pictures[0][1] for i in range(3)}).status_code == 200
    assert form(client, {}).status_code == 400
    with pytest.raises(UserError, match='3 images in a request, but at most 2 in work'):
        made(limits=Limits(max_images=3), batcher=dict(limit=2))
    with pytest.raises(UserError, match='max_pixels must be a whole number'):
        Limits(max_pixels=0)


def test_addresses_that_are_not_there(made):
    client = made()
    for answer, status in ((client.get('/nothing'), 404), (client.get('/predict'), 405)):
        assert answer.status_code == status and answer.json['error']


def test_the_token(made, pictures):
    client = made(token='a-token-of-some-length')
    for given in ({}, {'Authorization': 'Bearer a-token-of-some-lengtH'}, {'Authorization': 'Bearer é'}):
        for answer in (client.get('/health', headers=given), client.post('/predict', headers=given)):
            assert answer.status_code == 401 and 'Authorization: Bearer TOKEN' in answer.json['error']
            assert answer.headers['WWW-Authenticate'] == 'Bearer'
    given = {'Authorization': 'Bearer a-token-of-some-length', 'Content-Type': 'image/png'}
    assert client.post('/predict', data=pictures[0][1], headers=given).status_code == 200


def test_other_sites(made):
    client = made(hosts=frozenset({'127.0.0.1:8080'}))
    own = {'Host': '127.0.0.1:8080'}
    assert client.get('/classes', headers=own).status_code == 200
    for more in ({'Host': 'evil.example'}, {'Origin': 'http://evil.example'}, {'Sec-Fetch-Site': 'cross-site'}):
        answer = client.get('/classes', headers=own | more)
        assert answer.status_code == 403 and answer.json['error']
    assert client.get('/classes', headers=own | {'Origin': 'http://127.0.0.1:8080'}).status_code == 200


def test_what_is_known_of_the_model(made, pictures):
    state = State()
    client = made(state=state)
    assert client.get('/classes').json == {
        'calibrated': False,
        'classes': [
            {'name': 'red', 'threshold': 0.5},
            {'name': 'green', 'threshold': 0.25},
            {'name': 'blue', 'threshold': None},
        ],
    }
    form(client, {'a': pictures[0][1], 'b': pictures[1][1]})
    post(client, b'no image')
    health = client.get('/health')
    assert health.status_code == 200
    answer = health.json
    assert answer.pop('uptime_s') >= 0 and answer.pop('batches') in (1, 2)
    assert answer == {
        'ready': True,
        'model': 'colours',
        'backend': 'none',
        'classes': 3,
        'calibrated': False,
        'answers': {'200': 2, '400': 1},
        'images': 2,
        'in_work': 0,
    }
    state.stopping.set()
    health = client.get('/health')
    assert health.status_code == 503 and health.json['ready'] is False


def test_who_comes_when_all_room_is_taken(made, pictures):
    began, go = threading.Event(), threading.Event()
    client = made(Colours(began, go), Limits(max_images=2), dict(limit=3))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(form, client, {'a': pictures[0][1], 'b': pictures[1][1]})
        assert began.wait(60)
        refused = form(client, {'a': pictures[0][1], 'b': pictures[1][1]})
        assert refused.status_code == 503 and int(refused.headers['Retry-After']) >= 1
        assert 'try again' in refused.json['error']
        one_more = pool.submit(post, client, pictures[2][1])  # for which there is room
        assert client.get('/health').json['ready']  # which waits for nothing
        go.set()
        assert first.result(60).status_code == one_more.result(60).status_code == 200
    assert form(client, {'a': pictures[0][1], 'b': pictures[1][1]}).status_code == 200
    assert client.get('/health').json['in_work'] == 0


def test_three_at_once_are_a_batch(made, pictures):
    """And each is given its own answer; one on which the model fails takes no other along."""
    began, go = threading.Event(), threading.Event()
    model = Colours(began, go)
    client = made(model, batcher=dict(batch_size=4, wait=0.0))
    bad = picture(0, channels=(1, 2))[1]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(post, client, pictures[0][1])
        assert began.wait(60)
        others = [pool.submit(post, client, content) for content in (pictures[1][1], bad, pictures[2][1])]
        while client.get('/health').json['in_work'] < 4:
            pass
        batches_before = len(model.batches)
        threading.Event().wait(0.2)  # decoded, and in the queue
        go.set()
        answers = [job.result(60) for job in (first, *others)]
    assert batches_before == 0
    assert model.batches == [1, 3, 1, 1, 1]  # together, then one by one
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    assert answers[2].json == {'error': 'ZeroDivisionError: see the log of the server'}
    for answer, index in ((answers[0], 0), (answers[1], 1), (answers[3], 2)):
        assert answer.json['images'] == [{'image': '0', **expected(pictures[index][0])}]
