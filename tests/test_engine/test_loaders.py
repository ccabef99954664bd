"""Data loader options that a machine without workers or without a GPU cannot use."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import TensorDataset

from sarlp.engine import MultiLabelRunner
from sarlp.engine.loaders import fit_loader
from sarlp.paths import find_config


@pytest.fixture(params=[False, True])
def cuda(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: request.param)
    return request.param


@pytest.mark.parametrize('workers', [0, 3, None])
def test_what_is_left(cuda, workers):
    cfg = dict(batch_size=5, num_workers=workers, persistent_workers=True, prefetch_factor=4, pin_memory=True)
    if workers is None:
        del cfg['num_workers']
    before = dict(cfg)
    left = fit_loader(cfg)
    assert cfg == before
    gone = set() if workers else {'persistent_workers', 'prefetch_factor'}
    gone |= set() if cuda else {'pin_memory'}
    assert left == {key: value for key, value in before.items() if key not in gone}


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('workers', [0, 1])
def test_photographs_load_without_workers_and_without_a_gpu(split, workers):
    """Nothing but the number changed; torch refuses the options without workers, and its warnings are errors here."""
    init_default_scope('sarlp')
    loader = Config.fromfile(find_config('sarlp_r101_coco_p0.1'))[f'{split}_dataloader']
    loader.num_workers = workers
    loader.dataset = None
    cfg = {**loader.to_dict(), 'dataset': TensorDataset(torch.arange(211))}
    built = MultiLabelRunner.build_dataloader(cfg, seed=0)
    assert built.num_workers == workers
    assert built.persistent_workers is (workers > 0)
    assert built.prefetch_factor == (2 if workers else None)
    assert built.pin_memory is torch.cuda.is_available()
    if workers == 0:
        assert next(iter(built))[0].shape == (52,)


def test_a_loader_passes_through():
    loader = torch.utils.data.DataLoader(TensorDataset(torch.arange(7)))
    assert MultiLabelRunner.build_dataloader(loader) is loader
