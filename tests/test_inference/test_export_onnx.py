"""Models exported to ONNX against PyTorch, their metadata, and the script of the documentation that uses them."""

import copy
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scipy.special import expit

from sarlp.apps.completion import Calibration
from sarlp.errors import UserError
from sarlp.inference import init_model, prepare_for_inference
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.inference.onnx import check, export
from sarlp.inference.onnx.facts import read_preprocessing
from sarlp.inference.onnx.graph import Deployed, Probabilities, halve_weights, to_onnx
from sarlp.inference.onnx.size import set_image_size
from sarlp.models.literal import literal_form

from ..place import CLASSES
from ..spread_place import ORDER, spread_place
from .test_inference import build

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

DEPLOY_MD = Path(__file__).parents[2] / 'docs' / 'deploy.md'
SIZE = (24, 40)  # width, height
RESIZED = """
_base_ = './config.py'
_resize = dict(type='Resize', scale=(24, 40), interpolation='antialias')
_resized = [dict(type='LoadImage'), _resize, dict(type='PackMultiLabel')]
test_dataloader = dict(dataset=dict(pipeline=_resized))
"""
KNOTS = np.array([[0.1, 0.3, 0.3, 0.9, 0.95], [0.05, 0.2, 0.4, 0.9, 0.9]])  # a jump, and a flat stretch


def calibration_of(knots=KNOTS, thresholds=(0.4, np.inf, 0.2), shift=0.0):
    return Calibration(CLASSES, 0.8, np.array([0.1, -0.2, 0.3]), knots, np.array(thresholds), 0.9, shift=shift)


def session_of(proto):
    return check.open_session(proto.SerializeToString())


@pytest.mark.parametrize(
    'kind', ['shared vectors', 'clip_lora', *(pytest.param(k, marks=pytest.mark.slow) for k in ('sarlp', 'sgre'))]
)
def test_equal_to_the_formulas(kind):
    """Any number of images; the reference is in float64, unfolded, in the literal form."""
    model = build('sarlp' if kind == 'shared vectors' else kind)
    if kind == 'shared vectors':  # of all images: their order of multiplication depends on the batch
        model.head.srfl.use_image = False
        width = model.head.label_embedding.dim
        model.head.srfl.joint = torch.nn.Linear(width, width)
        model.head.srfl.norm = torch.nn.BatchNorm1d(width).eval()
        model.head.srfl.out = torch.nn.Linear(width, model.head.srfl.out_dim)
    if kind != 'sgre':  # without it all images have one score
        for layer in (model.head.sgfe.mlp[0], model.head.sgfe.mlp[3]) if kind != 'clip_lora' else (model.head.score,):
            torch.nn.init.normal_(layer.weight, std=0.3)
    size = (64, 96) if kind == 'clip_lora' else SIZE
    exact = copy.deepcopy(model).double()
    session = session_of(to_onnx(Deployed(prepare_for_inference(model)).eval(), size, 18))
    assert [output.name for output in session.get_outputs()] == ['scores', 'maps']
    mean, std = (getattr(exact.data_preprocessor, name).double() for name in ('mean', 'std'))
    for batch in (1, 2, 7):
        images = check.scenes(batch, size, np.random.default_rng(batch))
        scores, maps = session.run(None, {'images': images})
        with torch.no_grad(), literal_form(exact):
            outputs = exact((torch.from_numpy(images).double() - mean) / std)
        places = outputs['token_scores'].softmax(1).transpose(1, 2).numpy()
        assert maps.shape == (batch, 7, *outputs['grid']) and maps.dtype == scores.dtype == np.float32
        np.testing.assert_allclose(scores, expit(outputs['logits'].numpy()), rtol=0, atol=2e-5)
        np.testing.assert_allclose(maps.reshape(places.shape), places, rtol=0, atol=2e-5)
    assert scores.std(0).max() > 1e-4


def test_bgr_models_are_given_bgr():
    model = build('baseline')
    images = torch.from_numpy(check.noise(2, SIZE, np.random.default_rng(0)))
    with torch.no_grad():
        expected = Deployed(model)(images)[0]
        model.data_preprocessor.to_rgb = False  # takes BGR as it comes, with these means
        turned = Deployed(model)(images.flip(1))[0]
    torch.testing.assert_close(turned, expected, rtol=0, atol=0)


class TestProbabilities:
    @pytest.mark.parametrize('knots', [None, KNOTS, KNOTS[:, :1], KNOTS[:, 2:4]])
    @pytest.mark.parametrize('shift', [0.0, 1.7])
    def test_equal_to_the_calibration(self, knots, shift):
        calibration = calibration_of(knots, shift=shift)
        scores = np.random.default_rng(0).random((997, 3), np.float32)
        scores[0], scores[1] = 0, 1
        actual = Probabilities(calibration)(torch.from_numpy(scores)).numpy()
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, calibration.probabilities(scores), rtol=0, atol=1e-14)

    def test_flat_stretches_are_exact(self):
        """Thresholds lie on them."""
        knots = np.array([[0.2, 0.7, 0.9], [1 / 3, 1 / 3, 0.9]])
        scores = np.linspace(0, 0.69, 101)[:, None]
        for shift in (0.0, 0.9):
            calibration = Calibration(('a',), 1.0, np.zeros(1), knots, shift=shift)
            (there,) = np.unique(calibration.probabilities(scores))
            np.testing.assert_allclose(there, 1 / (1 + 2 * np.exp(shift)), rtol=1e-15)
            assert (Probabilities(calibration)(torch.from_numpy(scores)).numpy() == there).all()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place = spread_place(tmp_path_factory.mktemp('model'))
    (place.root / 'resized.py').write_text(RESIZED)
    results = MultiLabelInferencer(place.root / 'resized.py', place.root / 'model')(
        place.root / 'photos', progress=False
    )
    probabilities = calibration_of(shift=0.6).probabilities(np.stack([result.scores for result in results]))
    thresholds = np.median(probabilities, 0)  # so that they part the photographs
    thresholds[1] = np.inf
    place.calibration = calibration_of(thresholds=thresholds, shift=0.6)
    (place.root / 'recovered.json').write_text(json.dumps({'calibration': place.calibration.to_json()}))
    return place


def arguments(place, out, *more):
    return 'export_onnx.py', place.root / 'resized.py', place.root / 'model', '--out', out, '--repeats', '0', *more


@pytest.fixture(scope='module')
def exported(place):
    out = place.root / 'models' / 'model.onnx'
    place.run(*arguments(place, out, '--calibration', place.root / 'recovered.json'))
    return out


def test_tool(place, exported):
    session = onnxruntime.InferenceSession(exported)
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ('images', 'tensor(uint8)', ['batch', 3, 40, 24])
    shapes = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    assert shapes == {
        'scores': ('tensor(float)', ['batch', 3]),
        'maps': ('tensor(float)', ['batch', 3, 5, 3]),
        'probabilities': ('tensor(double)', ['batch', 3]),
    }
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts['classes'] == list(CLASSES)
    assert facts['decide_by'] == 'probabilities'
    cat, _, sofa = place.calibration.thresholds.tolist()
    assert facts['thresholds'] == [cat, None, sofa]
    assert facts['preprocessing'] == dict(width=24, height=40, interpolation='antialias', jpeg_min_side=None)
    assert facts['calibration'] == place.calibration.to_json()
    assert (facts['config'], facts['checkpoint']) == ('resized.py', 'model')
    assert facts['outputs'].keys() == shapes.keys()
    assert not [*exported.parent.glob('.*')]
    model = onnx.load(exported)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert {node.domain for node in model.graph.node} == {''}  # nothing but ONNX's own operators
    for folder in (place.root, DEPLOY_MD.parents[1]):  # nor where it was made
        assert bytes(folder) not in exported.read_bytes()


def test_script_of_the_documentation(place, exported, tmp_path):
    """It runs without torch and this package, and gives what the inferencer gives, at odd sizes."""
    (script,) = re.findall(r'```python\n(import json\nimport sys\n.*?)```', DEPLOY_MD.read_text(), re.DOTALL)
    hidden = 'import sys; sys.modules.update(torch=None, sarlp=None, mmengine=None, onnx=None)\n'
    (tmp_path / 'use.py').write_text(hidden + script)
    turned = Image.Exif()
    turned[0x0112] = 5  # rows become columns
    Image.open(place.root / 'photos' / ORDER[0]).convert('RGB').save(tmp_path / 'grün 5.tif', exif=turned)
    files = [*(place.root / 'photos' / name for name in ORDER), tmp_path / 'grün 5.tif']
    command = [sys.executable, tmp_path / 'use.py', exported, *files]
    finished = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    printed = [json.loads(line) for line in finished.stdout.splitlines()]
    inferencer = MultiLabelInferencer(
        place.root / 'resized.py', place.root / 'model', calibration=place.root / 'recovered.json'
    )
    expected = inferencer(files, progress=False)
    for actual, result in zip(printed, expected, strict=True):
        assert actual.keys() == result.classes.keys()
        for name, value in actual.items():
            assert abs(value - result.classes[name]) < 2e-3  # Pillow's grey levels
    assert len({tuple(actual) for actual in printed}) > 1


def test_half(place, exported, tmp_path, capsys):
    place.run(*arguments(place, tmp_path / 'half.onnx', '--half', '--threshold', '0.25', '--image-size', '32'))
    assert re.search(r'scenes  7 images  scores \S+, maps \S+\n', capsys.readouterr().out)
    session = onnxruntime.InferenceSession(tmp_path / 'half.onnx')
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert session.get_inputs()[0].shape == ['batch', 3, 32, 32]
    assert facts['preprocessing']['width'] == facts['preprocessing']['height'] == 32
    assert (facts['thresholds'], facts['decide_by']) == ([0.25] * 3, 'scores')
    assert facts['calibration'] is None
    kinds = [tensor.data_type for tensor in onnx.load(tmp_path / 'half.onnx').graph.initializer]
    assert onnx.TensorProto.FLOAT16 in kinds


def test_a_backbone_frozen_in_half_of_the_bits(place, exported, tmp_path, capsys):
    """The file has rounded weights and computes in float32: near the model of all bits, and not it."""
    lowered = tmp_path / 'lowered.onnx'
    place.run(
        *arguments(place, lowered, '--cfg-options', 'model.frozen_backbone=True', 'model.frozen_precision=bfloat16')
    )
    assert 'the exported model computes it in float32' in capsys.readouterr().out
    images = {'images': check.scenes(7, SIZE, np.random.default_rng(0))}
    scores, exact = (onnxruntime.InferenceSession(file).run(['scores'], images)[0] for file in (lowered, exported))
    assert 0 < np.abs(scores - exact).max() < 0.05


def test_halved_weights():
    values = np.random.default_rng(0).standard_normal((61, 97), np.float32)

    def proto(values):
        helper = onnx.helper
        weight = onnx.numpy_helper.from_array(values, 'w')
        ends = [helper.make_tensor_value_info(*end) for end in (('x', 1, (None, 61)), ('y', 1, (None, 97)))]
        graph = helper.make_graph([helper.make_node('MatMul', ['x', 'w'], ['y'])], 'g', ends[:1], ends[1:], [weight])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)

    halved = proto(values)
    halve_weights(halved)
    onnx.checker.check_model(halved)
    assert halved.ByteSize() < 0.55 * proto(values).ByteSize()
    rows = np.eye(61, dtype=np.float32)
    (actual,) = session_of(halved).run(None, {'x': rows})
    np.testing.assert_array_equal(actual, values.astype(np.float16).astype(np.float32))
    values[3, 5] = -1e5
    with pytest.raises(UserError, match=r'w holds 1e\+05, too large for float16: leave out --half'):
        halve_weights(proto(values))


def test_failed_check_writes_nothing(place, exported, tmp_path, monkeypatch, capsys):
    """One bias of the exported model is another."""
    wrong = onnx.load(exported)
    del wrong.metadata_props[:]
    (bias,) = (tensor for tensor in wrong.graph.initializer if tensor.name.endswith('head.sgfe.mlp.3.bias'))
    values = onnx.numpy_helper.to_array(bias) + np.float32([0, 0.01, 0])
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    monkeypatch.setattr(export, 'to_onnx', lambda *_: wrong)
    out = tmp_path / 'new' / 'model.onnx'
    more = '--calibration', place.root / 'recovered.json'
    with pytest.raises(SystemExit) as ended:
        place.run(*arguments(place, out, *more))
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert re.search(r'error: the exported model differs from PyTorch in scores by \S+, and 1e-04 is allowed', message)
    assert not out.parent.exists()
    place.run(*arguments(place, out, *more, '--tolerance', '0.1'))
    assert out.is_file()


class TestCheck:
    """Of a wrong model: it must be found."""

    @pytest.fixture
    def session(self, exported):
        return check.open_session(exported.read_bytes())

    @pytest.fixture
    def model(self, place):
        return init_model(place.root / 'resized.py', place.root / 'model')

    def test_another_model(self, place, session, model):
        model.head.sgfe.mlp[3].bias.data += 0.1
        found = [row[2] for row in check.largest_differences(session, Deployed(model), place.calibration, SIZE)]
        assert len(found) == 6
        for differences in found:
            assert differences['scores'] > 1e-3
            assert differences['maps'] < 1e-5
            assert differences['probabilities'] < 1e-12  # of the scores that the session gives

    def test_another_calibration(self, place, session, model):
        other = replace(place.calibration, scale=0.9)
        for *_, differences in check.largest_differences(session, Deployed(model), other, SIZE):
            assert differences['scores'] < 1e-5
            assert differences['probabilities'] > 1e-3

    def test_broken_weights(self, place, session, model):
        model.head.sgfe.mlp[3].bias.data[2] = torch.nan
        with pytest.raises(UserError, match='scores of the model are not finite'):
            list(check.largest_differences(session, Deployed(model), place.calibration, SIZE))

    def test_latencies(self, session, model):
        rows = list(check.latencies(session, Deployed(model), SIZE, (1, 3), 2))
        assert [row[0] for row in rows] == [1, 3]
        assert all(0 < value < 1e5 for row in rows for value in row[1:])


@pytest.mark.parametrize(
    ('steps', 'size', 'message'),
    [
        ([dict(type='CenterCrop', crop_size=32)], None, "has the step {'type': 'CenterCrop', 'crop_size': 32}, which"),
        (
            [dict(type='Resize', scale=(64, 32), keep_ratio=True)],
            (32, 32),
            'expected LoadImage, Resize to a fixed size',
        ),
        ([dict(type='Resize', scale_factor=0.5)], None, 'expected LoadImage, Resize to a fixed size'),
        ([], None, 'the test pipeline of the config does not resize, .* give it by --image-size'),
        ([dict(type='Resize', scale=(64, 36))], None, 'must be multiples of 8, got 64 x 36'),
        ([], (0, 8), 'must be multiples of 8, got 0 x 8'),
    ],
)
def test_pipelines_that_can_not_be_described(steps, size, message):
    with pytest.raises(UserError, match=message):
        read_preprocessing(config_of([dict(type='LoadImage'), *steps, dict(type='PackMultiLabel')]), size)


def config_of(pipeline):
    return Config(dict(model=dict(size_divisor=8), test_dataloader=dict(dataset=dict(pipeline=pipeline))))


def test_pipelines_that_can():
    pack = dict(type='PackMultiLabel')
    cached = config_of([dict(type='LoadResizedImage', scale=(64, 32), min_side=32, interpolation='area'), pack])
    expected = dict(width=64, height=32, interpolation='area', jpeg_min_side=32)
    assert read_preprocessing(cached) == expected
    assert read_preprocessing(cached, (16, 8)) == expected | dict(width=16, height=8)
    set_image_size(cached, (128, 96))
    assert read_preprocessing(cached) == expected | dict(width=128, height=96, jpeg_min_side=96)  # as many are decoded
    square = config_of([dict(type='sarlp.LoadImage'), dict(type='mmcv.Resize', scale=24), pack])
    plain = read_preprocessing(config_of([dict(type='LoadImage'), pack]), (16, 8))
    assert plain == dict(width=16, height=8, interpolation='antialias', jpeg_min_side=None)
    assert read_preprocessing(square) == dict(width=24, height=24, interpolation='bilinear', jpeg_min_side=None)


class TestRefused:
    def test_without_the_packages(self, place, tmp_path, monkeypatch, capsys):
        find = importlib.util.find_spec
        missing = ('onnx', 'onnxscript')
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name in missing else find(name))
        with pytest.raises(SystemExit):
            place.run(*arguments(place, tmp_path / 'm.onnx'))
        message = "error: export to ONNX needs onnx and onnxscript, not installed here: pip install 'sarlp[onnx]'\n"
        assert capsys.readouterr().err == message

    def test_old_torch(self, monkeypatch):
        monkeypatch.setattr(torch, '__version__', '2.5.1+cpu')
        with pytest.raises(UserError, match=r'needs torch 2\.6 or newer, and this is 2\.5\.1'):
            export.require_packages()

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (dict(opset=17), 'opset must be at least 18, got 17'),
            (dict(opset=99), 'does not export to opset 99, and gave [0-9]+; ask for less'),
            (dict(repeats=-1), 'repeats must be 0 or more, got -1'),
            (dict(tolerance=float('nan')), 'tolerance must be a number from 0 on, got nan'),
            (dict(options=['test_dataloader.dataset.pipeline.0.bits=99']), 'bits must be a whole number from 8 to 16'),
            (
                dict(options=['test_dataloader.dataset.pipeline.1.interpolation=cubic']),
                'interpolation must be one of antialias, nearest, .*, got .cubic.',
            ),
            (dict(threshold=1.5), 'threshold must be a number from 0 to 1, got 1.5'),
            (dict(calibration='gone.json'), r'gone\.json: no such file'),
            (dict(image_size=(20,)), 'must be multiples of 8, got 20 x 20'),
        ],
    )
    def test_options(self, place, tmp_path, options, message):
        with pytest.raises(UserError, match=message):
            export.export_onnx(place.root / 'resized.py', place.root / 'model', tmp_path / 'm.onnx', **options)
        assert not [*tmp_path.iterdir()]
