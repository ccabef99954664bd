"""Prediction of files, folders and arrays against the model called by hand, image by image."""

import itertools
import json
import re
import shutil
import threading
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.special import expit, logit

import sarlp
from sarlp.apps.completion import Calibration
from sarlp.engine import load_config
from sarlp.engine.records.provenance import origin_of
from sarlp.errors import UserError
from sarlp.inference import Predictor, init_model
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.transforms import BadImageError

from ..place import CLASSES
from ..spread_place import ORDER, spread_place

QUIET = dict(progress=False)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return spread_place(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def photos(place):
    return place.root / 'photos'


@pytest.fixture(scope='module')
def inferencer(place):
    return MultiLabelInferencer(place.root / 'config.py', place.root / 'model')


@pytest.fixture(scope='module')
def by_hand(place):
    """Scores and maps of an image, from the pixels on; the model is not prepared for inference."""
    model = init_model(place.root / 'config.py', place.root / 'model')
    mean, std = (torch.tensor(model.cfg.model.data_preprocessor[name])[:, None, None] for name in ('mean', 'std'))

    @torch.no_grad()
    def predict(path):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
        outputs = model(((rgb.float() - mean) / std)[None])
        maps = outputs['token_scores'][0].double().softmax(0).T.reshape(len(CLASSES), *outputs['grid'])
        return outputs['logits'][0].double().sigmoid().numpy(), maps.numpy()

    return predict


def rgb(path):
    return cv2.imread(str(path))[..., ::-1]


def assert_same(results, expected):
    assert [result.image for result in results] == [result.image for result in expected]
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual.scores, wanted.scores, rtol=0, atol=1e-6)


def test_folder(inferencer, photos, by_hand):
    results = inferencer(photos, batch_size=4, return_maps=True, **QUIET)
    assert [result.image for result in results] == ORDER
    for result in results:
        scores, maps = by_hand(photos / result.image)
        assert result.path == photos / result.image
        assert result.scores.shape == (3,) and result.scores.dtype == np.float64
        np.testing.assert_allclose(result.scores, scores, rtol=0, atol=2e-6)
        np.testing.assert_allclose(result.maps, maps, rtol=1e-3, atol=1e-6)
        expected = {name: score for name, score in zip(CLASSES, scores, strict=True) if score >= 0.5}
        assert list(result.classes) == sorted(expected, key=expected.get, reverse=True)
        assert result.classes == {name: result.scores[CLASSES.index(name)] for name in expected}
    scores = np.stack([result.scores for result in results])
    assert scores.std(0).min() > 1e-3
    assert 0 < (scores >= 0.5).mean() < 1


@pytest.mark.parametrize('num_workers', [0, 1, 3])
def test_batches_and_workers_change_nothing(inferencer, photos, num_workers):
    expected = inferencer(photos, batch_size=1, num_workers=0, **QUIET)
    for batch_size in (2, 5, 32):
        assert_same(inferencer(photos, batch_size, num_workers=num_workers, **QUIET), expected)
    assert expected[0].maps is None


def test_kinds_of_input(inferencer, photos):
    folder = {result.image: result.scores for result in inferencer(photos, **QUIET)}
    one, two = photos / 'a.PNG', photos / 'c' / 'a.png'

    def check(inputs, names, files):
        results = inferencer(inputs, **QUIET)
        assert [result.image for result in results] == names
        for result, file in zip(results, files, strict=True):
            np.testing.assert_allclose(result.scores, folder[file], rtol=0, atol=1e-6)
            assert (result.path is None) == isinstance(result.image, int)

    check(one, [str(one)], ['a.PNG'])
    check(str(one), [str(one)], ['a.PNG'])
    check(rgb(one), [0], ['a.PNG'])
    check(np.stack([rgb(one), rgb(two)]), [0, 1], ['a.PNG', 'c/a.png'])
    below = [str(photos / 'c' / 'a.png'), str(photos / 'c' / 'd' / 'a.bmp')]
    check([rgb(two), photos / 'c', one], [0, *below, str(one)], ['c/a.png', 'c/a.png', 'c/d/a.bmp', 'a.PNG'])
    check(iter([one, rgb(two)]), [str(one), 1], ['a.PNG', 'c/a.png'])
    check([], [], [])


@pytest.mark.parametrize('kind', ['Resize', 'LoadResizedImage'])
def test_arrays_go_through_the_pipeline(place, photos, kind):
    cfg = load_config(place.root / 'config.py')
    resize = dict(type=kind, scale=(40, 24), interpolation='bicubic')
    first = [] if kind == 'LoadResizedImage' else [dict(type='LoadImage')]
    cfg.test_dataloader.dataset.pipeline = [*first, resize, dict(type='PackMultiLabel')]
    predictor = Predictor(init_model(cfg, place.root / 'model'))
    expected = predictor.read(photos / 'b.png')
    assert expected.shape == (3, 24, 40)
    torch.testing.assert_close(predictor.read(rgb(photos / 'b.png')), expected, rtol=0, atol=0)
    cfg.test_dataloader.dataset.pipeline = [dict(type='PackMultiLabel')]
    predictor = Predictor(init_model(cfg, place.root / 'model'))
    with pytest.raises(UserError, match='begins with PackMultiLabel: expected LoadImage'):
        predictor.read(rgb(photos / 'b.png'))


class TestCalibration:
    @pytest.fixture
    def calibration(self):
        thresholds = np.array([expit(-1.0), np.inf, 0.0])
        return Calibration(CLASSES, 0.7, np.array([-1.0, 5.0, 0.3]), thresholds=thresholds, precision=0.9)

    @pytest.mark.parametrize('by_file', [False, True])
    def test_probabilities_and_thresholds(self, place, photos, inferencer, calibration, by_file):
        given = calibration
        if by_file:
            given = place.root / 'recovered.json'
            given.write_text(json.dumps({'version': 1, 'calibration': calibration.to_json()}))
        calibrated = MultiLabelInferencer(place.root / 'config.py', place.root / 'model', calibration=given)
        np.testing.assert_array_equal(calibrated.thresholds, calibration.thresholds)
        plain = np.stack([result.scores for result in inferencer(photos, **QUIET)])
        expected = expit(0.7 * logit(plain) + [-1.0, 5.0, 0.3])
        results = calibrated(photos, **QUIET)
        np.testing.assert_allclose([result.scores for result in results], expected, rtol=0, atol=1e-6)
        for result, row in zip(results, expected, strict=True):
            assert set(result.classes) == {'sofa'} | ({'cat'} if row[0] >= expit(-1.0) else set())  # never the dog
        assert 0 < (expected[:, 0] >= expit(-1.0)).mean() < 1

    def test_of_other_classes(self, place, calibration):
        content = {'calibration': calibration.to_json() | {'classes': ['cat', 'sofa', 'cow']}}
        file = place.root / 'other.json'
        file.write_text(json.dumps(content))
        with pytest.raises(
            UserError, match=r'other\.json has 3 classes, .*only the former has cow, only the latter has dog\.'
        ):
            MultiLabelInferencer(place.root / 'config.py', place.root / 'model', calibration=file)
        content = calibration.to_json() | {'classes': ['dog', 'cat', 'sofa']}
        other = Calibration.from_json(content, 'here')
        with pytest.raises(
            UserError, match='the calibration and .* have the same 3 classes in another order: class 0 is dog'
        ):
            MultiLabelInferencer(place.root / 'config.py', place.root / 'model', calibration=other)

    def test_of_another_model_of_the_same_classes(self, place, calibration, tmp_path):
        def saved(name, epoch, head='SARLPHead'):
            content = torch.load(place.root / 'model')
            cfg = f"model = dict(head=dict(type='{head}'))"
            torch.save(content | {'meta': content['meta'] | {'run': 'r', 'epoch': epoch, 'cfg': cfg}}, tmp_path / name)
            return tmp_path / name

        def calibrated(checkpoint, **values):
            fitted = Calibration.from_json(replace(calibration, **values).to_json(), 'here')
            return MultiLabelInferencer(place.root / 'config.py', checkpoint, calibration=fitted).calibration

        made_with, other, unlike = saved('a.pth', 3), saved('b.pth', 4), saved('c.pth', 4, 'BaselineHead')
        one = origin_of(init_model(place.root / 'config.py', made_with).meta)._asdict()
        folds = one | {'model': ''}
        assert calibrated(made_with, **one).model == one['model'] != ''
        with pytest.raises(UserError, match=r'another model \(run r, epoch 3\) than .*run r, epoch 4'):
            calibrated(other, **one)
        assert calibrated(other, **folds).kind == one['kind'] != ''
        told = pytest.warns(
            UserWarning, match=r"c\.pth: was trained otherwise \(head\.type 'BaselineHead' -> 'SARLPHead'\)"
        )
        with told, pytest.raises(UserError, match='folds whose config describes another model than that of .*c.pth'):
            calibrated(unlike, **folds)
        assert calibrated(place.root / 'model', **one).model  # which does not say what it is
        assert not calibrated(made_with).model  # of an earlier version

    def test_no_file(self, place):
        with pytest.raises(UserError, match=r'nowhere\.json: no such file'):
            MultiLabelInferencer(place.root / 'config.py', place.root / 'model', calibration='nowhere.json')


class TestStream:
    def test_takes_no_more_than_it_needs(self, inferencer):
        drawn = itertools.count()

        def endless():
            while True:
                yield np.full((16, 16, 3), next(drawn) % 256, np.uint8)

        stream = inferencer.stream(endless(), batch_size=4, num_workers=2, **QUIET)
        assert next(drawn) == 0  # nothing is done before the first is asked for
        first = list(itertools.islice(stream, 6))
        assert [result.image for result in first] == list(range(6))
        assert next(drawn) <= 1 + 2 * 4 + 2 * 4  # two batches taken, two ahead
        stream.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith('decode')]

    def test_missing_files(self, inferencer, photos):
        files = [*[photos / 'b.png'] * 3, 'gone.png']
        with pytest.raises(UserError, match=r'gone\.png: no such image or folder'):  # of a list, before any work
            inferencer.stream(files)
        stream = inferencer.stream(iter(files), batch_size=1, **QUIET)
        assert next(stream).image == str(files[0])  # an iterator is not looked through beforehand
        with pytest.raises(UserError, match=r'gone\.png: no such image or folder'):
            list(stream)

    def test_progress(self, inferencer, photos, capsys):
        inferencer(photos)
        assert re.search(r'predicting: .* \d/6 ', capsys.readouterr().err)  # how far depends on the time
        inferencer(photos, **QUIET)
        assert capsys.readouterr().err == ''


class TestBadImages:
    @pytest.fixture
    def damaged(self, photos, tmp_path):
        root = tmp_path / 'damaged'
        shutil.copytree(photos, root)
        (root / 'b.png').write_bytes(b'')
        content = (root / 'c' / 'a.png').read_bytes()
        (root / 'c' / 'a.png').write_bytes(content[: len(content) // 2])
        return root

    def test_raise(self, inferencer, damaged):
        with pytest.raises(BadImageError, match=r'b\.png: the image cannot be read'):
            inferencer(damaged, **QUIET)

    @pytest.mark.parametrize('batch_size', [1, 2, 32])
    def test_skip(self, inferencer, photos, damaged, batch_size):
        with pytest.warns(UserWarning, match=r'^2 images were skipped, .*: b\.png, c/a\.png$'):
            results = inferencer(damaged, batch_size, on_bad_image='skip', **QUIET)
        whole = [result for result in inferencer(photos, **QUIET) if result.image not in ('b.png', 'c/a.png')]
        assert_same(results, whole)

    def test_nothing_to_skip(self, inferencer, photos):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert len(inferencer(photos, on_bad_image='skip', **QUIET)) == 6

    def test_nothing_but_bad_images(self, inferencer, tmp_path):
        (tmp_path / 'a.jpg').write_bytes(b'no image')
        with pytest.warns(UserWarning, match=r'^1 image was skipped, .*: a\.jpg$'):
            assert inferencer(tmp_path, on_bad_image='skip', **QUIET) == []


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ('nowhere', 'nowhere: no such image or folder'),
        (np.zeros((8, 8), np.uint8), r'input 0: an image must be \(h, w, 3\) uint8 in RGB, got \(8, 8\) uint8'),
        ([np.zeros((8, 8, 3))], r'input 0: .* got \(8, 8, 3\) float64'),
        ([np.zeros((8, 8, 4), np.uint8)], r'got \(8, 8, 4\) uint8'),
        ([np.zeros((0, 8, 3), np.uint8)], r'got \(0, 8, 3\) uint8'),
        ([torch.zeros(3, 8, 8)], r'input 0: expected an image file, a folder or an array .*, got Tensor'),
        (5, 'input 0: expected an image file, .*, got int'),
        ([np.zeros((24, 20, 3), np.uint8)], '20x24 px .* multiple of 8'),
    ],
)
def test_inputs_that_are_none(inferencer, inputs, message):
    with pytest.raises(UserError, match=message):
        inferencer(inputs, **QUIET)


def test_folder_without_images(inferencer, tmp_path):
    (tmp_path / 'a.txt').write_text('')
    with pytest.raises(UserError, match=r'no image in this folder or below it \(read are .*\.bmp, .*\.jpg, '):
        inferencer(tmp_path, **QUIET)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(batch_size=0), 'batch_size must be a positive whole number, got 0'),
        (dict(on_bad_image='ignore'), "on_bad_image must be 'raise' or 'skip', got 'ignore'"),
        (dict(num_workers=-1), 'num_workers must be a whole number from 0 on, or None, got -1'),
        (dict(num_workers='2'), "num_workers must be a whole number from 0 on, or None, got '2'"),
        (dict(num_workers=1.5), 'num_workers must be a whole number from 0 on, or None, got 1.5'),
    ],
)
def test_options_that_there_are_not(inferencer, photos, options, message):
    with pytest.raises(ValueError, match=message):
        inferencer.stream(photos, **options)


@pytest.mark.parametrize('threshold', [-0.1, 1.1, float('nan')])
def test_threshold_out_of_range(place, threshold):
    with pytest.raises(UserError, match='threshold must be a number from 0 to 1'):
        MultiLabelInferencer(place.root / 'config.py', place.root / 'model', threshold=threshold)


def test_prepared_and_named_by_its_work_directory(place, photos, inferencer, tmp_path):
    shutil.copy(place.root / 'model', tmp_path / 'best_mAP_epoch_1.pth')
    prepare = dict(precision='bfloat16', channels_last=True)
    fast = sarlp.MultiLabelInferencer(place.root / 'config.py', tmp_path, threshold=0.2, prepare=prepare)
    results = fast(photos, **QUIET)
    for one, other in zip(results, inferencer(photos, **QUIET), strict=True):
        assert 1e-7 < np.abs(one.scores - other.scores).max() < 0.05
        assert set(one.classes) == {name for name, score in zip(CLASSES, one.scores, strict=True) if score >= 0.2}


def test_nothing_else_is_in_the_package():
    with pytest.raises(AttributeError, match="module 'sarlp' has no attribute 'Inferencer'"):
        _ = sarlp.Inferencer
