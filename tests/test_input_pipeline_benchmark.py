"""The benchmark measures what it says: both pipelines make the same images, and the rows follow from the times."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.transforms import LoadImage

SIZE = 224


@pytest.fixture(scope='module')
def benchmark():
    path = Path(__file__).resolve().parents[1] / 'benchmarks' / 'input_pipeline.py'
    spec = importlib.util.spec_from_file_location('input_pipeline', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    init_default_scope('sarlp')
    return module


def test_photographs_are_as_large_as_real_ones(benchmark):
    image = benchmark.photograph(500, 375, 0)
    assert (image.shape, image.dtype) == ((375, 500, 3), np.uint8)
    assert np.array_equal(image, benchmark.photograph(500, 375, 0))
    assert not np.array_equal(image, benchmark.photograph(500, 375, 1))


def test_plain_and_fast_make_the_same_images(benchmark, tmp_path):
    folder = benchmark.make_photographs(tmp_path, '131x97', 3)
    config = load_config('sarlp_r101_nus_p0.1')
    pipeline = config.train_dataloader.dataset.pipeline
    variants = benchmark.pipelines(pipeline, SIZE, str(tmp_path / 'cache'))
    types = [step['type'] for step in variants['plain']]
    assert not [name for name in types if name in ('RandomFlip', 'RandomCutout', 'PackMultiLabel')]
    found = {name: [] for name in variants}
    for name, steps in variants.items():
        dataset = benchmark.data_set(folder, steps)
        for epoch in range(5):
            dataset.set_epoch(epoch)
            found[name] += [dataset[index]['inputs'] for index in range(3)]
    for images in found.values():
        assert len(images) == 15
        assert all(torch.equal(one, other) for one, other in zip(images, found['plain'], strict=True))


def test_a_config_without_plain_loading_is_refused(benchmark):
    with pytest.raises(UserError, match='must begin by LoadImage, Resize'):
        benchmark.pipelines([dict(type='LoadResizedImage', scale=(3, 3)), dict(type='RandomFlip')], 3, 'cache')


def test_race_takes_turns(benchmark):
    calls = []
    times = benchmark.race(
        {'a': lambda turn: calls.append(('a', turn)), 'b': lambda turn: calls.append(('b', turn))}, 1, 2
    )
    assert calls == [(name, turn) for turn in range(3) for name in 'ab']
    assert times.keys() == {'a', 'b'}


def test_rows(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark.cv2, 'setNumThreads', lambda number: None)
    monkeypatch.setattr(benchmark.torch, 'set_num_threads', lambda number: None)
    arguments = ['--config', 'configs/sarlp/sarlp_r101_nus_p0.1.py', '--photos', '97x61', '--images', '2']
    arguments += ['--rounds', '1', '--images-per-second', '37', '2000', '--parts', 'decode', 'pipeline', 'operation']
    monkeypatch.setattr('sys.argv', ['input_pipeline.py', *arguments, '--json', str(tmp_path / 'rows.json')])
    benchmark.main()
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert {(row['part'], row['kind']) for row in rows} >= {
        ('decode', 'decode'),
        ('pipeline', 'train'),
        ('pipeline', 'test'),
    }
    for row in rows:
        assert row['images_per_second'] == pytest.approx(1e3 / row['ms'])
        assert row['workers_37'] == math.ceil(37 / row['images_per_second'] - 1e-9)
        assert row['size'] == SIZE
        assert row['ratio'] == 1 or row['variant'] not in ('plain', 'OpenCV')
    policies = [row['kind'] for row in rows if row['part'] == 'operation' and row['variant'] == 'sarlp']
    assert len(policies) == 1 + 1 + 15 + 1  # flip, cutout, policies, packing
    assert len(set(policies)) == len(policies)
    table = capsys.readouterr().out
    assert '| train | cache |' in table
    assert 'workers_2000' in table


def test_loader(benchmark, tmp_path):
    folder = benchmark.make_photographs(tmp_path, '97x61', 2)
    assert benchmark.loader_rate(folder, load_config('sarlp_r101_nus_p0.1'), 1) > 0


def test_plain_loads_as_the_config_does(benchmark, tmp_path):
    folder = benchmark.make_photographs(tmp_path, '97x61', 2)
    steps = [benchmark.plain(step) for step in (dict(type='LoadImage'), dict(type='PackMultiLabel'))]
    packed = Compose(steps)({'img_path': str(folder / '0.jpg')})['inputs']
    assert np.array_equal(packed.numpy().transpose(1, 2, 0), LoadImage()({'img_path': str(folder / '0.jpg')})['img'])
