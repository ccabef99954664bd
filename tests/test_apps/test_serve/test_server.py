"""Real servers, as processes of their own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sarlp.apps.serve.models import OnnxModel, TorchModel
from sarlp.apps.serve.server import TOKEN, read_token, serve
from sarlp.errors import UserError
from sarlp.inference.onnx.export import TOLERANCE
from sarlp.transforms import LoadImage, Resize

from ...spread_place import ORDER
from .conftest import Colours, picture

ONNX = """
import atexit, sys
from sarlp.commands import main
atexit.register(lambda: print('torch' in sys.modules, flush=True))
sys.argv = ['sarlp']
main(['serve', {file!r}, '--port', '0', '--max-mb', '1', '--host', {host!r}])
"""
SIZE = (24, 40)  # width, height of resized.py
SLOW = Path(__file__).with_name('slow_server.py')


@contextlib.contextmanager
def running(*arguments, **environment):
    """A server, and its port; it is ended if it has not been."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), **environment}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        line = process.stdout.readline()
        while line and 'http://' not in line:
            line = process.stdout.readline()
        yield process, int(line.partition('http://')[2].partition(' ')[0].rpartition(':')[2])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(connection, content, **headers):
    connection.request('POST', '/predict', content, {'Content-Type': 'image/png', **headers})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_an_onnx_file_without_torch(place, exported, tmp_path):
    """Three clients at once are answered what sarlp predict writes; a slow one and a broken one hold nobody up."""
    config, photos = place.root / 'resized.py', place.root / 'photos'
    out = tmp_path / 'predicted.json'
    place.run(
        'predict.py', config, place.root / 'model', photos, '--out', out, '--calibration', place.root / 'recovered.json'
    )
    predicted = json.loads(out.read_text('utf-8'))
    assert [entry['image'] for entry in predicted['images']] == ORDER

    with running('-c', ONNX.format(file=str(exported), host='127.0.0.1')) as (process, port):
        slow = socket.create_connection(('127.0.0.1', port))
        slow.sendall(
            b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 999\r\n\r\nx'
        )
        broken = socket.create_connection(('127.0.0.1', port))
        broken.sendall(b'no HTTP\r\n\r\n')

        def client(_):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)  # kept for all of its requests
            answers = [ask(connection, (photos / name).read_bytes()) for name in ORDER]
            connection.close()
            return answers

        with ThreadPoolExecutor(3) as pool:
            for answers in pool.map(client, range(3)):
                for (status, answer), entry in zip(answers, predicted['images'], strict=True):
                    (found,) = answer['images']
                    assert status == 200 and answer['calibrated'] is True
                    assert [*found['classes']] == [*entry['classes']]
                    assert found['scores'].keys() == entry['scores'].keys()
                    for name, score in entry['scores'].items():
                        assert found['scores'][name] == pytest.approx(score, abs=2e-3)  # the last grey level
        assert len({tuple(entry['classes']) for entry in predicted['images']}) > 1

        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        connection.request('GET', '/classes')
        listed = json.loads(connection.getresponse().read())['classes']
        assert {entry['name']: entry['threshold'] for entry in listed} == predicted['thresholds']
        connection.request('GET', '/health', headers={'Host': 'evil.example'})
        answer = connection.getresponse()
        assert answer.status == 403 and json.loads(answer.read())['error']
        status, answer = ask(connection, bytes(1_500_000))
        assert status == 413 and 'at most 16 images and 1,000,000 bytes' in answer['error']
        connection.close()
        slow.close()
        broken.close()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read().split() == ['stopped', 'False']
        assert process.wait(60) == 0


def test_both_backends_say_the_same(place, exported):
    onnx = OnnxModel(exported)
    torch = TorchModel(str(place.root / 'resized.py'), place.root / 'model', 'cpu', str(place.root / 'recovered.json'))
    assert onnx.classes == torch.classes and onnx.calibrated and torch.calibrated
    np.testing.assert_array_equal(onnx.thresholds, torch.thresholds)
    contents = [(place.root / 'photos' / name).read_bytes() for name in ORDER]
    pairs = [model.predict([model.read(c, 'a') for c in contents], maps=True) for model in (onnx, torch)]
    for ours, theirs in zip(*pairs, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=2e-3)  # the last grey level of a pixel
        np.testing.assert_allclose(ours.maps, theirs.maps, atol=2e-3)
    rgb = [np.asarray(torch.read(content, 'a'))[::-1] for content in contents]  # of the same pixels
    same = onnx.predict(rgb, maps=True)
    for ours, theirs in zip(same, pairs[1], strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=TOLERANCE[False])
        np.testing.assert_allclose(ours.maps, theirs.maps, atol=TOLERANCE[False])
    assert OnnxModel(exported, 0.75).thresholds.tolist() == [0.75] * 3


@pytest.mark.parametrize('law', ['antialias', 'nearest', 'bilinear', 'bicubic', 'area', 'lanczos'])
def test_images_are_made_ready_as_in_training(place, exported, law):
    onnx = OnnxModel(exported)
    onnx._interpolation = law
    for name in ORDER:
        loaded = LoadImage()({'img_path': str(place.root / 'photos' / name)})
        expected = Resize(scale=SIZE, interpolation=law)(loaded)['img'][..., ::-1].transpose(2, 0, 1)
        found = onnx.read((place.root / 'photos' / name).read_bytes(), name)
        assert np.abs(found.astype(int) - expected).max() <= (law == 'antialias')


def test_what_is_under_way_is_finished(tmp_path):
    began = tmp_path / 'began'
    content = picture(0)[1]
    with running(SLOW, began, 2) as (process, port), ThreadPoolExecutor(1) as pool:
        idle = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        idle.request('GET', '/health')
        assert json.loads(idle.getresponse().read())['ready'] is True
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        answer = pool.submit(ask, connection, content)
        while not began.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        status, found = answer.result(60)
        assert status == 200 and found['images'][0]['scores'] == {'cat': 0.75}
        assert process.wait(60) == 0
        with pytest.raises(OSError):
            socket.create_connection(('127.0.0.1', port)).close()
        for each in (idle, connection):
            each.close()


def test_a_host_that_others_reach_needs_a_token(place, exported):
    with pytest.raises(UserError, match=f'0.0.0.0 can be reached by others, so a token.*{TOKEN}'):
        serve(Colours(), '0.0.0.0', 0)
    content = (place.root / 'photos' / ORDER[0]).read_bytes()
    token = 'a-token-of-some-length'
    with running('-c', ONNX.format(file=str(exported), host='0.0.0.0'), **{TOKEN: token}) as (_, port):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        assert ask(connection, content, Host='photos.example')[0] == 401
        assert ask(connection, content, Host='photos.example', Authorization=f'Bearer {token}')[0] == 200
        connection.close()


def test_where_the_token_is_from(tmp_path):
    file = tmp_path / 'token'
    file.write_text('  a-token-of-some-length\n')
    assert read_token(file, {}) == 'a-token-of-some-length'
    assert read_token(None, {TOKEN: 'another-token-of-some-length'}) == 'another-token-of-some-length'
    assert read_token(None, {}) is None
    for bad in ('short', 'a token with some spaces', 'ein-schlüssel-mit-umlauten', ''):
        file.write_text(bad)
        with pytest.raises(UserError, match='token: expected a token of at least 16'):
            read_token(file, {})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(port=1 << 16), 'port must be from 0 to 65535, got 65536'),
        (dict(host='no.such.host.invalid', token='x' * 16), 'can not be used'),
        (dict(batch_size=0), 'batch_size must be at least 1'),
        (dict(queue=0), 'queue must be at least 1'),
        (dict(queue=2, port=0), '16 images in a request, but at most 2 in work'),
        (dict(wait_ms=float('nan')), 'wait_ms must be from 0'),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        serve(Colours(), **options)


def test_a_port_that_is_taken():
    with socket.create_server(('127.0.0.1', 0)) as taken, pytest.raises(UserError, match='can not be used'):
        serve(Colours(), port=taken.getsockname()[1])


def test_files_that_are_no_model(tmp_path, exported):
    import onnx

    with pytest.raises(UserError, match=r'a\.onnx: no such file; sarlp export'):
        OnnxModel(tmp_path / 'a.onnx')
    (tmp_path / 'a.onnx').write_bytes(b'no model')
    with pytest.raises(UserError, match=r'a\.onnx: is no ONNX file'):
        OnnxModel(tmp_path / 'a.onnx')
    wrong = [{}, {'preprocessing': '{"width": 24}'}, {'classes': '["cat"]'}, {'thresholds': 'null'}, {'classes': '['}]
    for change in wrong:
        proto = onnx.load(exported)
        facts = {prop.key: prop.value for prop in proto.metadata_props}
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, {**facts, **change} if change else {})
        onnx.save(proto, tmp_path / 'a.onnx')
        with pytest.raises(UserError, match=r'a\.onnx: is no file of sarlp export'):
            OnnxModel(tmp_path / 'a.onnx')
