"""Each command that uses a model says where it is used unlike it was trained, and else nothing."""

import contextlib
import json
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch

from sarlp.apps.serve.models import OnnxModel
from sarlp.commands import main
from sarlp.commands.friendly import friendly_errors
from sarlp.datasets.annotation import dump_annotation
from sarlp.engine import load_config
from sarlp.errors import GraveWarning
from sarlp.inference.onnx import export_onnx

from ..place import CLASSES
from ..spread_place import spread_place

RESIZED = """
_base_ = './config.py'
_resize = dict(type='Resize', scale=(32, 24), interpolation='antialias')
_resized = [dict(type='LoadImage'), _resize, dict(type='PackMultiLabel')]
_data = dict(data_root={root!r}, ann_file='test.json', pipeline=_resized)
_labels = dict(data_root={root!r}, ann_file='known.json', pipeline=_resized)
train_dataloader = dict(dataset=dict(**_labels, label_mask=None))
test_dataloader = dict(dataset=_data)
"""
OTHER = """
_base_ = './resized.py'
model = dict(data_preprocessor=dict(to_rgb=False))
"""
STRONG = r'model: was trained otherwise \(to_rgb True -> False\)\. Of pixels that'
SIZE = r'model: was trained otherwise \(Resize\.scale \(32, 24\) -> \(40, 24\)\), and may'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """With a checkpoint that says how it was trained, and labels enough to recover others by."""
    place = spread_place(tmp_path_factory.mktemp('model'))
    random = np.random.default_rng(0)
    for split in ('known', 'test'):
        entries = []
        for number in range(23):
            name, shown = f'{split}{number}.png', random.random(3) < 0.5
            cv2.imwrite(str(place.root / name), random.integers(0, 256, (40, 48, 3), np.uint8))
            entry = {'img_path': name, 'positive': np.flatnonzero(shown).tolist()}
            entries.append(entry | {'negative': np.flatnonzero(~shown).tolist()})
        dump_annotation(place.root / f'{split}.json', CLASSES, entries)
    (place.root / 'resized.py').write_text(RESIZED.format(root=str(place.root)))
    (place.root / 'other.py').write_text(OTHER)
    content = torch.load(place.root / 'model')
    content['meta']['cfg'] = load_config(place.root / 'resized.py').pretty_text
    torch.save(content, place.root / 'model')
    return place


def arguments(name, place, out):
    """Of a command, behind config and checkpoint."""
    photos = place.root / 'photos'
    return {
        'export': ('--out', out / 'm.onnx', '--repeats', 0),
        'maps': ('--img', photos, '--out-dir', out / 'maps', '--max-images', 1),
        'predict': (photos, '--out', out / 'p.csv', '--num-workers', 0),
        'recover': ('--out', out / 'r.csv'),
        'refit': ('--out', out / 'refit.pth', '--min-labels', 1),
        'test': ('--out', out / 't', '--work-dir', out / 'log', '--no-recovery'),
    }[name]


@pytest.fixture
def call(place, tmp_path, monkeypatch):
    def call(name, config, *more):
        if name == 'export':
            pytest.importorskip('onnxruntime')
            pytest.importorskip('onnxscript')
        monkeypatch.setattr(sys, 'argv', ['sarlp'])
        given = arguments(name, place, tmp_path)
        main([name, *map(str, (place.root / config, place.root / 'model', *given, *more))])

    return call


@pytest.mark.parametrize('name', ['export', 'maps', 'predict', 'recover', 'refit'])
def test_commands(name, call):
    call(name, 'resized.py')  # where a warning is an error
    with pytest.warns(GraveWarning, match=STRONG):
        call(name, 'other.py')


def test_the_test(call, tmp_path, capsys):
    def told():
        printed = capsys.readouterr().out
        return printed, json.loads((tmp_path / 't' / 'metrics.json').read_text())['protocol']

    call('test', 'resized.py')
    printed, protocol = told()
    assert 'trained otherwise' not in printed and 'unlike_training' not in protocol
    call('test', 'other.py')
    printed, protocol = told()
    assert '\nwarning: ' in printed and protocol['unlike_training'] == ['to_rgb True -> False']
    call('test', 'resized.py', '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(40,24)')
    printed, protocol = told()
    assert '\nnote: ' in printed and protocol['unlike_training'] == ['Resize.scale (32, 24) -> (40, 24)']


def test_maps_take_options(call):
    with pytest.warns(UserWarning, match=SIZE):
        call('maps', 'resized.py', '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(40,24)')


def test_json_of_predictions(call, tmp_path):
    out = tmp_path / 'p.json'
    call('predict', 'resized.py', '--out', out)
    assert 'unlike_training' not in json.loads(out.read_text())
    with pytest.warns(GraveWarning, match=STRONG):
        call('predict', 'other.py', '--out', out)
    assert json.loads(out.read_text())['unlike_training'] == ['to_rgb True -> False']


def noted(file):
    """In the metadata of a file of ONNX, which who serves it is told."""
    import onnx

    found = {prop.key: json.loads(prop.value) for prop in onnx.load(file).metadata_props}.get('unlike_training')
    with contextlib.nullcontext() if found is None else pytest.warns(UserWarning, match='was exported otherwise than'):
        OnnxModel(file)
    return found


def test_export_of_another_size(call, tmp_path):
    call('export', 'resized.py', '--image-size', 32, 24)
    assert noted(tmp_path / 'm.onnx') is None
    with pytest.warns(UserWarning, match=SIZE):
        call('export', 'resized.py', '--image-size', 40, 24)
    assert noted(tmp_path / 'm.onnx') == ['Resize.scale (32, 24) -> (40, 24)']
    option = 'test_dataloader.dataset.pipeline.1.scale=(40,24)'
    call('export', 'resized.py', '--image-size', 32, 24, '--cfg-options', option)  # is the training's again


def test_export_of_another_size_than_that_of_the_data(place, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    content = torch.load(place.root / 'model')
    content['meta'].pop('cfg')  # so that the data alone say it
    torch.save(content, tmp_path / 'silent')
    export_onnx(place.root / 'config.py', tmp_path / 'silent', tmp_path / 'm.onnx', (64,), repeats=0)
    with pytest.warns(UserWarning, match='those of its data are 64 x 64 px: it may be worse on images of 96 x 64 px'):
        export_onnx(place.root / 'config.py', tmp_path / 'silent', tmp_path / 'm.onnx', (96, 64), repeats=0)
    assert noted(tmp_path / 'm.onnx') == ['size of the images 64 x 64 -> 96 x 64']


def test_how_it_looks():
    with friendly_errors():
        assert warnings.formatwarning('of a kind', GraveWarning, 'a.py', 3) == 'warning: of a kind\n'
