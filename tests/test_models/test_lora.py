"""LoRA on CLIP's ResNet: where the adapters are, that they matter, merging, and checkpoints without the frozen part."""

import logging

import pytest
import torch
from torch import nn

from sarlp.engine import build_runner, read_checkpoint, trainable_parameters
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.models import merge_adapters
from sarlp.registry import MODELS

TINY = dict(type='CLIPResNet', layers=(1, 2, 1, 1), width=4, heads=4, output_dim=16, image_size=64)
LORA = dict(r=2, alpha=8, dropout=0.01)
POOL = ('q_proj', 'k_proj', 'v_proj', 'c_proj')


def make_backbone(lora=LORA, **options):
    torch.manual_seed(0)
    backbone = MODELS.build(dict(TINY, lora=lora, **options))
    for module in backbone.modules():  # the last BatchNorm of a block starts at 0 and would hide the block
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return backbone


def disturb(module):
    """Move every adapter off its start, where one of its two factors is 0."""
    for name, parameter in module.named_parameters():
        if '.lora_B.' in name:
            nn.init.normal_(parameter, std=0.1)


def images(side):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_adapters_sit_on_the_targets_and_the_rest_is_frozen():
    backbone = make_backbone()
    adapted = {name.split('.lora_')[0] for name, _ in backbone.named_parameters() if '.lora_' in name}
    blocks = ('layer2.0', 'layer2.1', 'layer3.0', 'layer4.0')
    assert adapted == {
        *(f'visual.{block}.conv{number}' for block in blocks for number in (1, 2, 3)),
        *(f'visual.attnpool.{name}' for name in POOL),
    }
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if '.lora_' not in name} == {'visual.attnpool.positional_embedding'}
    assert not any(name.endswith('.bias') for name in trained)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(trained='attnpool.positional_embedding'), r"write \['attnpool.positional_embedding'\]"),
        (dict(alpha=0), 'lora.alpha must be above 0, got 0'),
    ],
)
def test_options_that_would_train_nothing(options, message):
    with pytest.raises(UserError, match=message):
        make_backbone(lora=LORA | options)


@pytest.mark.parametrize('side, used', [(64, POOL), (96, ('v_proj', 'c_proj'))])
def test_pool_adapters_take_effect(side, used):
    backbone = make_backbone().eval()
    adapters = {name: getattr(backbone.visual.attnpool, name) for name in used}
    before = backbone(images(side))[-1][0]
    before.square().sum().backward()
    for name, adapter in adapters.items():
        assert adapter.lora_B['default'].weight.grad.norm() > 0, name
        nn.init.normal_(adapter.lora_B['default'].weight)
        with torch.no_grad():
            after = backbone(images(side))[-1][0]
        assert (after - before).norm() > 1e-4 * before.norm(), name
        before = after
    backbone(images(side))[-1][0].square().sum().backward()
    for name, adapter in adapters.items():
        assert adapter.lora_A['default'].weight.grad.norm() > 0, name


@torch.no_grad()
@pytest.mark.parametrize('side', [64, 96])
def test_merging_changes_no_output(side):
    backbone = make_backbone().eval()
    plain = make_backbone(lora=None).eval()
    disturb(backbone)
    before = backbone(images(side))[-1][0]
    assert not torch.allclose(before, plain(images(side))[-1][0], rtol=1e-2)
    assert merge_adapters(backbone) == 16
    after = backbone(images(side))[-1][0]
    assert ((after - before).norm() / before.norm()).item() < 1e-5
    assert backbone.state_dict().keys() == plain.state_dict().keys()
    assert merge_adapters(backbone) == 0


def test_trainable_parameters_are_counted():
    backbone = make_backbone()
    groups, trained, total = trainable_parameters(backbone)
    adapters = sum(p.numel() for name, p in backbone.named_parameters() if '.lora_' in name)
    assert trained == adapters + backbone.visual.attnpool.positional_embedding.numel()
    assert total == sum(parameter.numel() for parameter in backbone.parameters())
    assert groups['visual.layer2.*.conv1.lora_A.default.weight'] == (2, 2 * 16 + 2 * 32)


# ---- a run ----


@pytest.fixture
def weights(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = MODELS.build(TINY).visual.state_dict()
        torch.save({f'visual.{key}': value for key, value in state.items()}, tmp_path / f'clip{seed}.pt')
    return str(tmp_path / 'clip0.pt')


@pytest.fixture
def slim_config(tiny_config):
    def make(weights, **backbone):
        head = dict(type='BaselineHead', loss=dict(type='AsymmetricLoss', reduction='mean', scale=1.0))
        backbone = dict(TINY, lora=LORA, weights=weights, image_token=False) | backbone
        cfg = tiny_config(backbone=backbone, head=head)
        cfg.default_hooks.trainable = dict(type='TrainableParametersHook')
        cfg.default_hooks.trainable_only = dict(type='TrainableOnlyHook')
        return cfg

    return make


def test_slim_checkpoint_is_saved_resumed_and_loaded(tmp_path, slim_config, weights, caplog):
    cfg = slim_config(weights)
    runner = build_runner(cfg)
    with caplog.at_level(logging.INFO):
        runner.logger.addHandler(caplog.handler)
        runner.train()
    assert 'parameters are trained (' in caplog.text and 'positional_embedding' in caplog.text

    whole = runner.model.state_dict()
    for epoch in (1, 2):
        file = read_checkpoint(tmp_path / 'work' / f'epoch_{epoch}.pth')
        absent = set(whole) - set(file['state_dict'])
        assert absent == {f'backbone.{key}' for key in runner.model.backbone.frozen_state()}
        assert {key.removeprefix('module.') for key in file['ema_state_dict']} >= set(file['state_dict'])
        assert not {f'module.{key}' for key in absent} & set(file['ema_state_dict'])

    resumed = slim_config(weights)
    resumed.load_from, resumed.resume = str(tmp_path / 'work' / 'epoch_1.pth'), True
    resumed.work_dir = str(tmp_path / 'resumed')
    second = build_runner(resumed)
    second.train()
    for key, value in second.model.state_dict().items():
        assert torch.allclose(value, whole[key], atol=1e-6), key

    model = init_model(slim_config(weights), tmp_path / 'work' / 'epoch_2.pth')
    for key, value in file['state_dict'].items():
        assert torch.equal(model.state_dict()[key], value), key
    state = torch.load(weights, weights_only=True)
    assert torch.equal(model.backbone.visual.conv1.weight, state['visual.conv1.weight'])

    with pytest.raises(UserError, match='was trained on another frozen part than .*clip1.pt'):
        init_model(slim_config(str(tmp_path / 'clip1.pt')), tmp_path / 'work' / 'epoch_2.pth')
    with pytest.raises(UserError, match='there are no such CLIP weights'):
        init_model(slim_config('nowhere.pt'), tmp_path / 'work' / 'epoch_2.pth')
    with pytest.raises(UserError, match='set model.backbone.weights=FILE'):
        init_model(slim_config(None), tmp_path / 'work' / 'epoch_2.pth')

    other = slim_config(str(tmp_path / 'clip1.pt'))
    torch.save({'meta': {}, 'state_dict': whole}, tmp_path / 'whole.pth')
    other.load_from, other.work_dir = str(tmp_path / 'whole.pth'), str(tmp_path / 'other')
    with pytest.raises(UserError, match='frozen part of the model is not that of .*clip1.pt'):
        build_runner(other).train()

    del file['meta']['frozen_sha256']  # nothing but the hook may leave entries out
    torch.save(file, tmp_path / 'broken.pth')
    with pytest.raises(UserError, match='missing: backbone.visual.attnpool'):
        init_model(slim_config(weights), tmp_path / 'broken.pth')


@pytest.mark.parametrize(
    'change, message', [(dict(weights=None), 'no file'), (dict(lora=None), 'nothing to leave out')]
)
def test_slim_checkpoints_need_a_frozen_part_from_a_file(slim_config, weights, change, message):
    with pytest.raises(UserError, match=message):
        build_runner(slim_config(**{'weights': weights, **change})).train()
