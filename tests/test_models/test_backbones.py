"""Backbones of other libraries, by config alone."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models as tv
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.errors import GraveWarning, UserError
from sarlp.inference import prepare_for_inference
from sarlp.inference.maps import _Logits
from sarlp.inference.onnx.graph import Deployed, to_onnx
from sarlp.models.fold import fold_batch_norm
from sarlp.models.frozen import freeze
from sarlp.models.network import Network, measure
from sarlp.models.normalization import Normalization
from sarlp.models.recompute import recompute
from sarlp.registry import MODELS
from sarlp.visualization.gradcam import grad_cam_maps

CLASSES = 5
# timm's own miniatures of the families; width and stride as timm says them, an oracle of its own
MINIATURES = ['test_convnext', 'test_efficientnet', 'test_resnet', 'test_vit']
SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=17, image_size=64)
STAGES = dict(hidden_sizes=[4, 5, 6, 8], depths=[1, 1, 1, 1])
# configuration, width, stride, tokens in front of those of the places
TRANSFORMERS = {
    'convnext': (dict(model_type='convnext', **STAGES), 8, 32, 0),
    'vit': (dict(model_type='vit', patch_size=8, **SMALL), 16, 8, 1),
    'dinov2': (dict(model_type='dinov2_with_registers', patch_size=14, num_register_tokens=3, **SMALL), 16, 14, 4),
    'swin': (dict(model_type='swin', embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2), 16, 8, 0),
    'siglip': (dict(model_type='siglip_vision_model', patch_size=8, **SMALL), 16, 8, 0),
    'clip': (dict(model_type='clip', vision_config=dict(patch_size=8, **SMALL)), 16, 8, 1),
}
# name, options, width, stride
TORCHVISION = {
    'mobilenet_v2': (dict(width_mult=0.1), 1280, 32),
    'shufflenet_v2_x0_5': ({}, 1024, 32),
    'squeezenet1_1': ({}, 512, 16),
}


def timm(name):
    vit = dict(dynamic_img_size=True) if 'vit' in name else {}
    return dict(type='mmpretrain.TIMMBackbone', model_name=name, features_only=True, out_indices=(-1,), **vit)


def timm_swin():
    """Gives its channels last."""
    sizes = dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), strict_img_size=False)
    return timm('swin_tiny_patch4_window7_224') | sizes


def transformers(name, **options):
    return dict(type='TransformersBackbone', config=TRANSFORMERS[name][0], **options)


def torchvision(name, **options):
    return dict(type='TorchvisionBackbone', name=name, **TORCHVISION[name][0], **options)


def concat(*backbones):
    return dict(type='ConcatBackbone', backbones=list(backbones))


def layers(backbone, *names):
    return dict(type='LayersBackbone', backbone=backbone, layers=list(names))


EFFICIENTNET = layers(timm('test_efficientnet'), 'timm_model.blocks.4', 'timm_model.blocks.2', 'timm_model.blocks.3')

ALL = [
    *(pytest.param(timm(name), id=name) for name in MINIATURES),
    pytest.param(timm_swin(), id='timm swin'),
    *(pytest.param(transformers(name), id=name) for name in TRANSFORMERS),
    pytest.param(transformers('vit', image_token=True), id='vit, image token'),
    *(pytest.param(torchvision(name), id=name) for name in TORCHVISION),
    pytest.param(concat(torchvision('mobilenet_v2'), timm('test_efficientnet')), id='concat'),
    pytest.param(EFFICIENTNET, id='layers'),
]


def build(backbone, kind='SARLPHead', **options):
    init_default_scope('sarlp')
    head = dict(type='BaselineHead', num_classes=CLASSES, in_channels=None)
    if kind == 'SARLPHead':
        head |= dict(type=kind, label_embedding=dict(type='LabelEmbedding', dim=7), srfl=dict(type='SRFL'))
        head |= dict(sgfe=dict(type='SGFE', attention_dim=11), recovery=dict(type='LabelRecovery'))
        head |= dict(image_token=backbone.get('image_token', False))
    torch.manual_seed(0)
    model = dict(type='MultiLabelClassifier', backbone=backbone, head=head, size_divisor=None, **options)
    return MODELS.build(Config(dict(model=model)).model)  # as from a file


@pytest.mark.parametrize('name', MINIATURES)
def test_width_and_stride_are_asked_of_the_backbone(name):
    model = build(timm(name)).eval()
    info = model.backbone.timm_model.feature_info
    assert model.head.in_channels == info.channels()[-1]
    assert model.network.size_divisor == info.reduction()[-1]
    side = info.reduction()[-1]
    outputs = model(torch.randn(2, 3, 3 * side, 2 * side))
    assert outputs['grid'] == (3, 2)
    assert outputs['token_scores'].shape == (2, 6, CLASSES)
    with pytest.raises(UserError, match=f'a multiple of {side} '):
        model(torch.randn(1, 3, 3 * side + 1, 2 * side))


@torch.no_grad()
@pytest.mark.parametrize('height, width', [(224, 224), (64, 96)])
def test_channels_that_come_last(height, width):
    model = build(timm_swin()).eval()
    info = model.backbone.timm_model.feature_info
    assert (model.head.in_channels, model.network.size_divisor) == (info.channels()[-1], info.reduction()[-1])
    images = torch.randn(2, 3, height, width)
    (features,) = model.backbone(images)
    assert features.shape == (2, height // 32, width // 32, 64)
    for kept in (False, True):
        if kept:  # as from a folder of tokens
            freeze(model.backbone)
        tokens, grid = model.network.extract_tokens(features if kept else images)
        assert grid == (height // 32, width // 32)
        for row in range(grid[0]):
            for column in range(grid[1]):
                assert torch.equal(tokens[:, row * grid[1] + column], features[:, row, column])


class Gives(nn.Module):
    """A backbone of one's own that gives what a function makes of its map."""

    def __init__(self, what):
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 8, 8)
        self.what = what

    def forward(self, images):
        return self.what(self.convolution(images))


@pytest.mark.parametrize(
    'what, named',
    [
        (lambda x: x, r'a tensor \(1, 6, \d+, \d+\)'),
        (lambda x: None, 'NoneType'),
        (lambda x: {'map': x}, 'dict'),
        (lambda x: (x.mean((2, 3)),), r'a tuple of \(a tensor \(1, 6\)\)'),
        (lambda x: (x.flatten(2).mT, x.shape[2:]), r'a tuple of \(a tensor .*, a Size of \(int, int\)\)'),
    ],
)
def test_what_is_no_feature_map(what, named):
    message = f'Gives must return a tuple whose last entry is a feature map.*it returned {named}'
    with pytest.raises(UserError, match=message):
        measure(Gives(what))
    head = MODELS.build(dict(type='BaselineHead', num_classes=CLASSES, in_channels=6))
    with pytest.raises(UserError, match=message):
        Network(Gives(what), head, 8)(torch.randn(1, 3, 40, 16))


def test_a_backbone_without_a_gradient_is_told():
    head = MODELS.build(dict(type='BaselineHead', num_classes=CLASSES, in_channels=6))
    network = Network(Gives(lambda x: (x.detach(),)), head, 8)
    with pytest.warns(GraveWarning, match=r'Gives gives features without a gradient.*model.frozen_backbone=True'):
        network(torch.randn(1, 3, 40, 16))
    network.backbone.requires_grad_(False)
    network(torch.randn(1, 3, 40, 16))  # warnings are errors here


@pytest.mark.parametrize('images', [torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 16, 16, 3)])
def test_images_as_no_preprocessor_should_give_them(images):
    with pytest.raises(UserError, match=r'expected normalised float32 \(B, 3, h, w\).*model.data_preprocessor'):
        build(timm('test_resnet'))(images)


@pytest.mark.parametrize('backbone', ALL)
def test_grad_cam_of_any_backbone(backbone):
    model = build(backbone).eval()
    logits = _Logits(model)
    height, width = 3 * model.network.size_divisor, 2 * model.network.size_divisor
    image = torch.randn(1, 3, height, width)
    torch.testing.assert_close(logits(image), model(image)['logits'])
    maps = grad_cam_maps(logits, logits.places, image, [0, 3])
    assert maps.shape == (2, height, width) and np.isfinite(maps).all()


@pytest.mark.parametrize('backbone', ALL)
def test_nothing_is_idle(backbone):
    """Several processes would wait for the gradients of what no image reaches."""
    model = build(backbone, 'BaselineHead' if 'image_token' not in backbone else 'SARLPHead').train()
    side = 3 * model.network.size_divisor
    outputs = model.network(torch.randn(2, 3, side, side))
    sum(outputs[key].sum() for key in ('logits', 'recovery_logits') if key in outputs).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize('backbone', ALL)
def test_folding_changes_nothing(backbone):
    """For prediction BatchNorm is multiplied into the convolutions; of timm its activation must stay."""
    model = build(backbone)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    side = 3 * model.network.size_divisor
    images = torch.randn(2, 3, side, side)
    folded = prepare_for_inference(copy.deepcopy(model).eval())
    with torch.no_grad():
        expected, actual = (Network.extract_tokens(m.network, images)[0] for m in (model.eval(), folded))
    scale = expected.std()
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=1e-4)


def test_what_is_not_folded():
    between = nn.Sequential(nn.Conv2d(3, 5, 1), nn.GELU(), nn.BatchNorm2d(5)).eval()
    assert fold_batch_norm(between) == 0 and isinstance(between[2], nn.BatchNorm2d)
    assert fold_batch_norm(nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.GELU()).eval()) == 1


@pytest.mark.parametrize('name', TORCHVISION)
def test_torchvision_equals_its_features(name):
    options, width, stride = TORCHVISION[name]
    model = build(torchvision(name)).eval()
    assert (model.head.in_channels, model.network.size_divisor) == (width, stride)
    whole = tv.get_model(name, weights=None, **options).eval()
    whole.load_state_dict(model.backbone.network.state_dict(), strict=False)
    images = torch.randn(2, 3, 3 * stride, 5 * stride)
    if name.startswith('shufflenet'):
        x = whole.maxpool(whole.conv1(images))
        expected = whole.conv5(whole.stage4(whole.stage3(whole.stage2(x))))
    else:
        expected = whole.features(images)
    torch.testing.assert_close(model.backbone(images)[-1], expected, rtol=0, atol=0)
    copied = copy.deepcopy(model)  # as the average of the weights is made
    torch.testing.assert_close(copied.eval().backbone(images)[-1], expected, rtol=0, atol=0)


@pytest.mark.parametrize('name', TRANSFORMERS)
def test_transformers_equals_its_hidden_state(name):
    _, width, stride, front = TRANSFORMERS[name]
    backbone = build(transformers(name)).eval().backbone
    assert measure(backbone) == (width, stride)
    images = torch.randn(2, 3, 3 * stride, 5 * stride)
    hidden = backbone.model(images, **backbone._forward_options).last_hidden_state
    found = backbone(images)[-1]
    if name == 'convnext':
        assert torch.equal(found, hidden) and found.shape == (2, width, 3, 5)
        return
    tokens, grid = found
    assert grid == (3, 5) and tokens.shape == (2, 15, width) and hidden.shape == (2, front + 15, width)
    assert torch.equal(tokens, hidden[:, front:])
    backbone.image_token = True
    with_image = backbone(images)[-1][0]
    assert torch.equal(with_image[:, 1:], tokens) and torch.equal(with_image[:, 0], hidden[:, 0])


class TestConcat:
    def test_maps_stand_side_by_side(self):
        one, two = transformers('convnext'), torchvision('shufflenet_v2_x0_5')
        model = build(concat(one, two)).eval()
        assert (model.head.in_channels, model.network.size_divisor) == (8 + 1024, 32)
        images = torch.randn(2, 3, 96, 160)
        (found,) = model.backbone(images)
        expected = [backbone(images)[-1] for backbone in model.backbone.backbones]
        assert torch.equal(found[:, :8], expected[0]) and torch.equal(found[:, 8:], expected[1])

    @pytest.mark.parametrize(
        ('other', 'size'), [(torchvision('squeezenet1_1'), r'\(13, 13\)'), (transformers('vit'), 'None')]
    )
    def test_other_strides_and_tokens_are_refused(self, other, size):
        with pytest.raises(UserError, match=rf'maps of one height and width, got .* \(7, 7\), \w+Backbone {size} of'):
            build(concat(torchvision('mobilenet_v2'), other))

    def test_one_is_refused(self):
        with pytest.raises(UserError, match='backbones must be two or more, got 1'):
            build(concat(timm('test_resnet')))

    def test_each_has_its_weights_and_its_normalisation(self, tmp_path):
        one, two = torchvision('mobilenet_v2'), torchvision('shufflenet_v2_x0_5')
        stored = build(concat(one, two)).backbone
        for number, (backbone, network) in enumerate(zip((one, two), stored.backbones, strict=True)):
            whole = tv.get_model(backbone['name'], weights=None, **TORCHVISION[backbone['name']][0])
            whole.load_state_dict(network.network.state_dict(), strict=False)
            backbone['weights'] = str(tmp_path / f'{number}.pth')
            torch.save(whole.state_dict(), backbone['weights'])
        torch.manual_seed(1)
        model = MODELS.build(dict(concat(one, two)))
        model.init_weights()
        assert all(torch.equal(value, stored.state_dict()[key]) for key, value in model.state_dict().items())
        for network, mean in zip(model.backbones, (117.0, 117.0), strict=True):
            network.normalization = lambda mean=mean: Normalization((mean, 3.0, 5.0), (7.0, 11.0, 13.0))
        assert model.normalization() == Normalization((117.0, 3.0, 5.0), (7.0, 11.0, 13.0))
        model.backbones[1].normalization = lambda: Normalization((117.0, 3.0, 5.0), (7.0, 11.0, 13.5))
        with pytest.raises(UserError, match='want images of different mean and std'):
            model.normalization()


class TestLayers:
    def test_maps_are_what_the_library_gives(self):
        """timm gives the last map of each stride by itself."""
        model = build(EFFICIENTNET).eval()
        assert (model.head.in_channels, model.network.size_divisor) == (64 + 32 + 48, 32)
        inner = model.backbone.backbone
        oracle = MODELS.build(dict(timm('test_efficientnet'), out_indices=(2, 3, 4)))
        oracle.eval()
        oracle.load_state_dict(inner.state_dict())
        images = torch.randn(2, 3, 96, 160)
        (found,) = model.backbone(images)
        eighth, sixteenth, last = oracle(images)
        assert found.shape == (2, 144, 3, 5)
        assert torch.equal(found[:, :64], last)
        for row in range(3):
            for column in range(5):
                for part, one, side in ((slice(64, 96), eighth, 4), (slice(96, 144), sixteenth, 2)):
                    patch = one[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
                    torch.testing.assert_close(found[:, part, row, column], patch.mean((2, 3)))

    def test_a_copy_has_maps_of_its_own(self):
        """As the average of the weights is made."""
        backbone = build(EFFICIENTNET).eval().backbone
        images = torch.randn(2, 3, 64, 96)
        before = backbone(images)[0]
        copied = copy.deepcopy(backbone)
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.mul_(1.5)
        assert not torch.allclose(copied(images)[0], before)
        assert torch.equal(backbone(images)[0], before)

    def test_what_is_computed_again_is_the_same_and_is_not_kept(self):
        names = 'timm_model.blocks.3.0.bn1', 'timm_model.blocks.4'  # the first lies within what is computed again
        plain = build(layers(timm('test_efficientnet'), *names)).double().train().backbone
        again = copy.deepcopy(plain)
        recompute(again.backbone.timm_model)
        images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
        gradients = []
        for backbone in (plain, again):
            backbone(images)[0].square().sum().backward()
            assert backbone._maps is None
            gradients.append({name: parameter.grad for name, parameter in backbone.named_parameters()})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-10, atol=0, msg=name)

    def test_compiled(self):
        backbone = build(EFFICIENTNET).eval().backbone
        images = torch.randn(2, 3, 64, 96)
        compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
        torch.testing.assert_close(compiled(images)[0], backbone(images)[0])

    @pytest.mark.parametrize('layer', ['conv1', 'bn1'])
    def test_a_layer_before_a_normalisation_stays_when_it_is_folded(self, layer):
        model = build(layers(timm('test_resnet'), f'timm_model.{layer}', 'timm_model.layer4')).eval()
        norm = model.backbone.backbone.timm_model.bn1
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        images = torch.randn(2, 3, 64, 96)
        with torch.no_grad():
            expected = model.backbone(images)[0]
            found = prepare_for_inference(copy.deepcopy(model)).backbone(images)[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        ('names', 'message'),
        [
            (['timm_model.layer5'], r"TIMMBackbone has no layer 'timm_model.layer5'; near it: .*timm_model.layer4"),
            ([], 'one or more different names, got'),
            (['timm_model.layer4'] * 2, 'one or more different names, got'),
        ],
    )
    def test_names_that_mean_nothing(self, names, message):
        with pytest.raises(UserError, match=message):
            build(layers(timm('test_resnet'), *names))

    def test_tokens_and_channels_at_the_end_are_refused(self):
        for name, found in (('blocks.1', r'a tensor \(1, \d+, 64\)'), ('norm', 'no call')):
            with pytest.raises(UserError, match=rf'{name} of TIMMBackbone must give a map .* found {found}$'):
                build(layers(timm('test_vit'), f'timm_model.model.{name}'))
        with pytest.raises(UserError, match=r'layers_0 of .* channels first, found a tensor \(1, 56, 56, 8\)'):
            build(layers(timm_swin(), 'timm_model.layers_0', 'timm_model.layers_3'))

    def test_strides_that_do_not_fit(self):
        model = build(layers(timm('test_resnet'), 'timm_model.layer3', 'timm_model.layer4'))
        with pytest.raises(UserError, match=r'a map of \(5, 6\) places is no multiple of the smallest, \(3, 3\)'):
            model.backbone(torch.randn(1, 3, 80, 96))


@pytest.mark.parametrize('name', ['vit', 'convnext'])
def test_order_of_the_tokens_is_row_by_row(name):
    """A change of the pixels of one place shows there most."""
    stride = TRANSFORMERS[name][2]
    network = build(transformers(name)).eval().network
    images = torch.randn(1, 3, 3 * stride, 5 * stride)
    changed = images.clone()
    changed[:, :, stride : 2 * stride, 3 * stride : 4 * stride] += 9  # row 1, column 3
    before, after = (network.extract_tokens(x)[0] for x in (images, changed))
    assert (after - before).norm(dim=2).argmax() == 1 * 5 + 3


@pytest.mark.parametrize(
    'backbone',
    [torchvision('squeezenet1_1'), transformers('vit'), concat(timm('test_resnet'), EFFICIENTNET)],
)
def test_onnx(backbone):
    pytest.importorskip('onnxscript')
    session = pytest.importorskip('sarlp.inference.onnx.check').open_session
    model = build(backbone, data_preprocessor=dict(type='sarlp.DataPreprocessor', mean=[9] * 3, std=[7] * 3)).eval()
    deployed = Deployed(model).eval()
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    scores, maps = session(to_onnx(deployed, (96, 64), 18).SerializeToString()).run(None, {'images': images.numpy()})
    with torch.no_grad():
        expected = deployed(images)
    np.testing.assert_allclose(scores, expected[0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(maps, expected[1], rtol=0, atol=2e-5)


def test_grad_cam_is_that_of_the_last_stage():
    """Of a ResNet, what the head sees is the output of the last stage."""
    init_default_scope('sarlp')
    backbone = dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4, out_indices=(3,))
    head = dict(type='BaselineHead', num_classes=CLASSES, in_channels=None)
    model = MODELS.build(dict(type='MultiLabelClassifier', backbone=backbone, head=head)).eval()
    assert model.head.in_channels == 32
    logits, image = _Logits(model), torch.randn(1, 3, 96, 64)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, inputs):
            return self.model(inputs)['logits']

    expected = grad_cam_maps(Plain(), model.backbone.layer4, image, [1, 4])
    assert np.allclose(grad_cam_maps(logits, logits.places, image, [1, 4]), expected, atol=1e-6)


def test_the_config_of_the_docs(tmp_path):
    text = (Path(__file__).parents[2] / 'docs' / 'configs.md').read_text(encoding='utf-8')
    (block,) = [block for block in re.findall(r'```python\n(.*?)```', text, re.S) if 'TIMMBackbone' in block]
    block = block.replace("'convnext_tiny'", "'test_convnext'").replace("'convnext_tiny.safetensors'", "''")
    (tmp_path / 'mine.py').write_text(block)
    cfg = load_config(tmp_path / 'mine.py')
    set_num_classes(cfg, CLASSES, 'here')
    cfg.model.head.label_embedding.file = None
    model = MODELS.build(cfg.model).eval()
    assert (model.head.in_channels, model.network.size_divisor) == (64, 32)
    assert model(torch.randn(1, 3, 224, 224))['grid'] == (7, 7)


def test_what_can_not_be_measured():
    with pytest.raises(UserError, match='can not be measured on an image of 224 px .*dynamic_img_size=True'):
        measure(nn.Linear(3, 4))
    backbone = nn.Sequential(nn.Conv2d(3, 5, 16, stride=16), nn.BatchNorm2d(5)).train()

    class Tuple(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = backbone

        def forward(self, images):
            return (self.inner(images),)

    assert measure(Tuple()) == (5, 16)
    assert backbone.training and backbone[1].num_batches_tracked == 0  # as it was
