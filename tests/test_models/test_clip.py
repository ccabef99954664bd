"""CLIP's ResNet: dense tokens equal the authors' code, and its weights are read without running code from the file."""

import copy
import os
import pickle
import zipfile
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.engine.config.inputs import check_inputs
from sarlp.errors import UserError
from sarlp.io.clip_weights import read_clip_weights
from sarlp.models.clip_resnet import dense_tokens, resize_position
from sarlp.registry import MODELS

TINY = dict(type='CLIPResNet', layers=(1, 2, 1, 1), width=4, heads=4, output_dim=16, image_size=64)


def make_backbone(seed=0, **options):
    torch.manual_seed(seed)
    backbone = MODELS.build({**TINY, **options})
    for module in backbone.modules():  # the last BatchNorm of a block starts at 0 and would hide the block
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return backbone


class Pool(nn.Module):
    """The layers of CLIP's attention pool with the parameters of a golden file."""

    num_heads = 32

    def __init__(self, state):
        super().__init__()
        self.positional_embedding = nn.Parameter(state['positional_embedding'])
        for name in ('q_proj', 'k_proj', 'v_proj', 'c_proj'):
            out_dim, in_dim = state[f'{name}.weight'].shape
            setattr(self, name, nn.Linear(in_dim, out_dim))
        self.load_state_dict(state)


@pytest.mark.parametrize('kind, axes', [('value', (0, 2, 1)), ('attention', (1, 0, 2))])
def test_dense_tokens_equal_the_authors(golden, kind, axes):
    numbers = {
        key.removeprefix(f'{kind}/'): torch.from_numpy(value)
        for key, value in golden('clip_dense_pooling').items()
        if key.startswith(f'{kind}/')
    }
    pool = Pool({key.removeprefix('sd/'): value for key, value in numbers.items() if key.startswith('sd/')})
    expected = numbers['tokens'].permute(*axes)
    actual = dense_tokens(pool, numbers['x'])
    assert actual.shape == expected.shape
    assert ((actual - expected).norm() / expected.norm()).item() < 1e-5


def test_position_keeps_its_first_row_and_its_orientation():
    rows = torch.arange(3.0)[:, None].expand(3, 3).reshape(9, 1)  # a ramp from top to bottom
    resized = resize_position(torch.cat([torch.full((1, 1), 9.0), rows]), (5, 7))
    assert resized.shape == (36, 1) and resized[0] == 9
    plane = resized[1:].reshape(5, 7)
    assert torch.allclose(plane, plane[:, :1].expand(5, 7)) and (plane[1:, 0] > plane[:-1, 0]).all()


@torch.no_grad()
def test_first_token_on_the_native_grid_is_the_image_embedding_of_clip():
    backbone = make_backbone().eval()
    images = torch.randn(2, 3, 64, 64)
    tokens, grid = backbone(images)[-1]
    assert grid == (2, 2) and tokens.shape == (2, 5, 16)
    assert torch.allclose(tokens[:, 0], backbone.visual(images), atol=1e-6)


@pytest.mark.parametrize('width, heads', [(64, 32), (80, 40), (96, 48)])
def test_heads_of_the_pool_are_those_of_clip(width, heads):
    """RN101, RN50x4 and RN50x16 by open_clip's own configs, which the weights do not tell apart."""
    from open_clip import get_model_config

    names = {64: 'RN101', 80: 'RN50x4', 96: 'RN50x16'}
    vision = get_model_config(names[width])['vision_cfg']
    assert (vision['width'], vision['width'] * 32 // vision.get('head_width', 64)) == (width, heads)
    backbone = MODELS.build(dict(type='CLIPResNet', layers=(1, 1, 1, 1), width=width, image_size=64))
    assert backbone.visual.attnpool.num_heads == heads


@torch.no_grad()
@pytest.mark.parametrize('height, width', [(32, 32), (64, 64), (96, 160), (160, 96)])
def test_image_sizes(height, width):
    images = torch.randn(2, 3, height, width)
    for image_token in (True, False):
        tokens, grid = make_backbone(image_token=image_token).eval()(images)[-1]
        assert grid == (height // 32, width // 32)
        assert tokens.shape == (2, image_token + grid[0] * grid[1], 16)


def test_norm_eval_keeps_the_statistics():
    for norm_eval in (True, False):
        backbone = make_backbone(norm_eval=norm_eval).train()
        before = backbone.visual.bn1.running_mean.clone()
        backbone(torch.randn(2, 3, 64, 64))
        assert torch.equal(before, backbone.visual.bn1.running_mean) is norm_eval


def make_classifier(backbone_token, head_token, **head):
    torch.manual_seed(0)
    loss = dict(type='AsymmetricLoss', reduction='sum')
    parts = dict(
        label_embedding=dict(type='LabelEmbedding', dim=12),
        encoder=dict(type='TokenEncoder', num_heads=4, feedforward_dim=32),
        srfl=dict(type='SRFL'),
        sgfe=dict(type='SGFE', attention_dim=8),
        recovery=dict(type='LabelRecovery'),
    )
    head = dict(
        type='SARLPHead',
        num_classes=5,
        in_channels=16,
        normalize_tokens=True,
        image_token=head_token,
        **parts,
        **head,
    )
    backbone, method = dict(TINY, image_token=backbone_token), dict(type='SARLP', loss=loss, recovery_loss=loss)
    return MODELS.build(dict(type='MultiLabelClassifier', backbone=backbone, head=head, method=method))


@pytest.mark.parametrize('image_token, wide_dim', [(True, 28), (False, None)])
def test_classifier_takes_tokens(image_token, wide_dim):
    model = make_classifier(image_token, image_token, wide_dim=wide_dim)
    samples = []
    for _ in range(2):
        samples.append(DataSample())
        samples[-1].set_field(torch.tensor([1.0, 0.0, -1.0, -1.0, 0.0]), 'gt_score')
    losses = model(torch.randn(2, 3, 96, 64), samples, mode='loss')
    sum(losses.values()).backward()
    outputs = model(torch.randn(2, 3, 96, 64))
    assert outputs['grid'] == (3, 2) and outputs['token_scores'].shape == (2, 6, 5)
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert unused == {f'backbone.visual.attnpool.{name}_proj.{kind}' for name in 'qk' for kind in ('weight', 'bias')}


def test_image_token_of_encoder_and_head_must_agree():
    with pytest.raises(ValueError, match='expects tokens .*1 . 2 . 2, 16.*model.head.image_token'):
        make_classifier(False, True)(torch.randn(2, 3, 64, 64))


# ---- weights ----


class CLIP(nn.Module):
    """As much of CLIP as its archive needs: the image encoder under ``visual`` beside something of the text encoder."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual
        self.positional_embedding = nn.Parameter(torch.randn(7, 3))
        self.register_buffer('input_resolution', torch.tensor(64))

    def forward(self, images):
        return self.visual(images)


def save(kind, visual, path):
    clip = CLIP(copy.deepcopy(visual)).eval()  # half precision is for the file only
    state = clip.state_dict()
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    if kind == 'torchscript':
        archive = torch.jit.trace(clip, torch.zeros(1, 3, 64, 64))
        for parameter in archive.parameters():
            parameter.data = parameter.data.half()
        torch.jit.save(archive, path)
    elif kind == 'plain':
        torch.save(half, path)
    elif kind == 'visual':
        torch.save(visual.state_dict(), path)
    elif kind == 'safetensors':
        from safetensors.torch import save_file

        save_file(half, path)
    else:
        torch.save({'epoch': 3, 'state_dict': {f'module.{key}': value for key, value in state.items()}}, path)


@pytest.mark.filterwarnings('ignore')  # torch.jit is deprecated, the archives are there
@pytest.mark.parametrize('lora', [None, dict(r=2)])
@pytest.mark.parametrize('kind', ['torchscript', 'plain', 'visual', 'safetensors', 'open_clip'])
def test_every_format_gives_the_same_encoder(tmp_path, kind, lora):
    source = make_backbone(seed=1).eval()
    file = tmp_path / ('clip.safetensors' if kind == 'safetensors' else 'clip.pt')
    save(kind, source.visual, file)
    with torch.no_grad():  # what half precision leaves of the weights
        for parameter in source.parameters():
            parameter.copy_(parameter.half())
    target = make_backbone(seed=2, weights=str(file), lora=lora)
    target.init_weights()
    images = torch.randn(2, 3, 96, 96)
    assert all(value.dtype != torch.float16 for value in target.state_dict().values())
    with torch.no_grad():
        expected, actual = source(images)[-1][0], target.eval()(images)[-1][0]
    assert torch.allclose(actual, expected, rtol=1e-2, atol=1e-3 if kind in ('open_clip', 'visual') else 1e-5)


def test_missing_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(
        UserError, match='RN101.pt of OpenAI .open_clip.get_pretrained_url.*model.backbone.weights=None'
    ):
        MODELS.build(dict(TINY, weights=str(tmp_path / 'RN101.pt'))).init_weights()


def test_a_checkpoint_of_a_training_is_told_from_weights(tmp_path):
    file = tmp_path / 'epoch_3.pth'
    torch.save({'state_dict': {'backbone.visual.conv1.weight': torch.ones(2)}, 'meta': {}, 'message_hub': {}}, file)
    with pytest.raises(UserError, match=r'epoch_3.pth: holds no .*a training of sarlp, which load_from=FILE begins'):
        MODELS.build(dict(TINY, weights=str(file))).init_weights()


def test_missing_file_is_listed_before_the_run(tmp_path):
    cfg = SimpleNamespace(
        model=SimpleNamespace(backbone=dict(type='CLIPResNet', weights=str(tmp_path / 'RN101.pt')), head={})
    )
    with pytest.raises(UserError, match='1 input is missing:\n- weights of CLIP: .*RN101.pt'):
        check_inputs(cfg, [], training=True)
    check_inputs(cfg, [], training=False)


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'misshapen'])
def test_other_weights_are_refused(tmp_path, change):
    state = {f'visual.{key}': value for key, value in make_backbone().visual.state_dict().items()}
    name = 'visual.layer1.0.conv1.weight'
    if change == 'missing':
        del state[name]
    elif change == 'unexpected':
        state['visual.proj'] = torch.zeros(3)
    else:
        state[name] = state[name][:2]
    torch.save(state, tmp_path / 'clip.pt')
    with pytest.raises(UserError, match='layer1.0.conv1.weight' if change != 'unexpected' else 'proj'):
        MODELS.build(dict(TINY, weights=str(tmp_path / 'clip.pt'))).init_weights()


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('torchscript', [True, False])
def test_no_code_of_the_file_is_run(tmp_path, torchscript):
    file, trace = tmp_path / 'clip.pt', tmp_path / 'trace'
    content = {'visual.x': Evil(f'touch {trace}')}
    if torchscript:
        with zipfile.ZipFile(file, 'w') as archive:
            archive.writestr('clip/data.pkl', pickle.dumps(content, protocol=2))
            archive.writestr('clip/constants.pkl', pickle.dumps((), protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(UserError, match='no CLIP weights that can be read safely'):
        read_clip_weights(file)
    assert not trace.exists()


@pytest.mark.parametrize('content', [b'', b'no weights', b'PK\x03\x04 broken'])
def test_what_is_no_file_of_weights(tmp_path, content):
    (tmp_path / 'clip.pt').write_bytes(content)
    with pytest.raises(UserError, match='no CLIP weights that can be read safely'):
        read_clip_weights(tmp_path / 'clip.pt')
