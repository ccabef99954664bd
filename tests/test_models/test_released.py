"""Released checkpoints become checkpoints of this project, and nothing of them is lost."""

import runpy
import sys

import numpy as np
import pytest
import torch

from sarlp.engine import build_runner
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.inference.convert_released import convert_released
from sarlp.inference.maps import draw_maps
from sarlp.io.embeddings import save_embeddings
from sarlp.models.released import rename_released
from sarlp.paths import shipped
from sarlp.registry import MODELS

CLASSES = ('ant', 'bat', 'cat', 'cow', 'dog')
RESNET = dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=2, out_indices=(3,))
CLIP = dict(type='CLIPResNet', layers=(1, 1, 1, 1), width=4, heads=4, output_dim=16, image_size=64)
ENCODER = dict(type='TokenEncoder', num_heads=4)
RECOVERY = dict(type='LabelRecovery')
SARLP = dict(type='SARLPHead', encoder=ENCODER, sgfe=dict(type='SGFE', attention_dim=8))
SRFL = dict(type='SRFL')
WIDE = dict(normalize_tokens=True, image_token=True, wide_dim=32)
SGRE = dict(type='SGREHead', encoder=ENCODER, attention_dim=8)
MODELS_OF_THE_PAPER = {
    'sarlp': (RESNET, dict(SARLP, srfl=SRFL, recovery=RECOVERY)),
    'sarlp_wo_jls': (RESNET, dict(SARLP, srfl=SRFL)),
    'sarlp_wo_srfl': (RESNET, SARLP),
    'sarlp_wo_srfl_wo_jls': (RESNET, dict(SARLP, srfl=dict(SRFL, use_image=False))),
    'baseline': (RESNET, dict(type='BaselineHead')),
    'sarlp_clip_lora': (dict(CLIP, lora=dict(r=2)), dict(SARLP, srfl=SRFL, recovery=RECOVERY, **WIDE)),
    'sgre': (RESNET, SGRE),
}


@pytest.fixture
def released(tmp_path, golden, tiny_config):
    """``released(name)`` writes config, embeddings and released file; returns the golden numbers and the backbone."""

    def make(name):
        backbone, head = MODELS_OF_THE_PAPER[name]
        numbers = golden(name)
        if name != 'baseline':
            head = dict(head, label_embedding=dict(type='LabelEmbedding', dim=12, file=str(tmp_path / 'bert.npz')))
            save_embeddings(tmp_path / 'bert.npz', numbers['embeddings'], CLASSES, 'bert', 'golden')
        tiny_config(CLASSES, backbone, head).dump(tmp_path / 'config.py')
        torch.manual_seed(0)
        backbone = MODELS.build(backbone)
        state = {f'module.{key[3:]}': torch.from_numpy(v) for key, v in numbers.items() if key.startswith('sd/')}
        # as PEFT names them in a model that it wrapped
        prefix = 'base_model.model.' if name == 'sarlp_clip_lora' else ''
        for key, value in backbone.state_dict().items():
            state[f'module.backbone.{prefix}{key.removeprefix("visual.")}'] = value
        torch.save(state, tmp_path / 'best_ema_model.pth')
        return numbers, backbone

    return make


def convert(tmp_path, **options):
    files = [tmp_path / name for name in ('best_ema_model.pth', 'out.pth', 'config.py', 'data/trainval.json')]
    return convert_released(*files, **options)


@torch.no_grad()
@pytest.mark.parametrize('name', MODELS_OF_THE_PAPER)
def test_every_model_is_converted(tmp_path, released, name):
    numbers, backbone = released(name)
    count = convert(tmp_path)
    assert count == sum(key.startswith('sd/') for key in numbers) + len(backbone.state_dict())
    model = init_model(tmp_path / 'config.py', tmp_path / 'out.pth')
    assert model.classes == CLASSES
    for key, value in backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value), key
    outputs = model.head(torch.from_numpy(numbers['features']), (4, 4))
    logits = torch.from_numpy(numbers['eval/logits']) if name == 'sgre' else None
    scores = torch.from_numpy(numbers['eval/scores']) if logits is None else logits.sigmoid()
    assert torch.allclose(outputs['logits'].sigmoid(), scores, atol=1e-5)


def test_the_tool_writes_what_testing_and_maps_take(tmp_path, released, monkeypatch, capsys):
    released('sarlp')
    arguments = ['best_ema_model.pth', 'out.pth', '--config', 'config.py', '--classes', 'data/trainval.json']
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['clsl_to_sarlp.py', *arguments, '--embeddings', 'bert.npz'])
    runpy.run_path(str(shipped('tools') / 'model_converters' / 'clsl_to_sarlp.py'), run_name='__main__')
    assert 'entries converted into out.pth' in capsys.readouterr().out

    model = init_model('config.py', 'out.pth')
    cfg = model.cfg.copy()
    cfg.load_from = 'out.pth'
    assert 0 <= build_runner(cfg, training=False).test()['mAP'] <= 100
    assert len(draw_maps(model, [tmp_path / 'data' / 'test_0.png'], tmp_path / 'maps')) == 1


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda state: state.update({'module.fc9.weight': torch.zeros(1)}), "'module.fc9.weight' is no entry"),
        (lambda state: state.pop('module.fc0.bias'), '1 missing: head.recovery.score.bias'),
        (lambda state: state.update({'module.fc0.bias': torch.zeros(3)}), r'head.recovery.score.bias \(3,\) instead'),
        (lambda state: state.update({'module.backbone.fc.weight': torch.zeros(3)}), '1 unexpected: backbone.fc.weight'),
        (lambda state: state['module.position_embedding.pe'].add_(0.1), 'position code'),
        (lambda state: state.update({'module.position_embedding.pe': torch.zeros(3)}), 'position code'),
        (lambda state: state.update({'fc0.bias': state['module.fc0.bias']}), "'fc0.bias' is there twice"),
        (lambda state: state.update({3: torch.zeros(3)}), 'flat dict of tensors'),
        (lambda state: state['module.fc0.bias'].fill_(torch.nan), '1 entries hold NaN.*: head.recovery.score.bias'),
        (
            lambda state: state.update({'module.fc0.bias': state['module.fc0.bias'].long()}),
            'another kind of number than the model: head.recovery.score.bias',
        ),
        (lambda state: state.update(epoch=3), 'flat dict of tensors'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, released, change, message):
    released('sarlp')
    state = torch.load(tmp_path / 'best_ema_model.pth', weights_only=True)
    change(state)
    torch.save(state, tmp_path / 'best_ema_model.pth')
    with pytest.raises(UserError, match=message):
        convert(tmp_path)
    assert not (tmp_path / 'out.pth').exists()


def test_embeddings_must_be_there_and_of_these_classes(tmp_path, released):
    numbers, _ = released('sarlp')
    save_embeddings(tmp_path / 'other.npz', numbers['embeddings'], CLASSES[::-1], 'bert', 'golden')
    with pytest.raises(UserError, match=r'other\.npz and .* have the same 5 classes in another order: class 0 is'):
        convert(tmp_path, embeddings=tmp_path / 'other.npz')
    with pytest.raises(UserError, match='learns its label embeddings'):
        convert(tmp_path, options={'model.head.label_embedding.file': None})


def test_other_width_of_embeddings_is_refused(tmp_path, released):
    released('sarlp')
    save_embeddings(tmp_path / 'wide.npz', np.zeros((5, 13), np.float32), CLASSES, 'bert', 'golden')
    with pytest.raises(UserError, match='head.label_embedding.weight'):
        convert(tmp_path, embeddings=tmp_path / 'wide.npz')


def test_encoder_of_clip_under_any_of_its_prefixes():
    keys = ('backbone.', 'backbone.visual.', 'backbone.base_model.model.', 'module.backbone.base_model.model.visual.')
    for prefix in keys:
        names = rename_released({f'{prefix}{name}': torch.zeros(1) for name in ('attnpool.q_proj.bias', 'bn1.bias')})
        assert set(names) == {'backbone.visual.attnpool.q_proj.bias', 'backbone.visual.bn1.bias'}, prefix
