"""Backbones of other libraries, by config alone."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.errors import UserError
from sarlp.inference.maps import _Logits
from sarlp.models.network import measure
from sarlp.registry import MODELS
from sarlp.visualization.gradcam import grad_cam_maps

CLASSES = 5
# timm's own miniatures of the families; width and stride as timm says them, an oracle of its own
MINIATURES = ['test_convnext', 'test_efficientnet', 'test_resnet', 'test_vit']


def build(name, kind='SARLPHead', **options):
    init_default_scope('sarlp')
    vit = dict(dynamic_img_size=True) if 'vit' in name else {}
    backbone = dict(type='mmpretrain.TIMMBackbone', model_name=name, features_only=True, out_indices=(-1,), **vit)
    head = dict(type='BaselineHead', num_classes=CLASSES, in_channels=None)
    if kind == 'SARLPHead':
        head |= dict(type=kind, label_embedding=dict(type='LabelEmbedding', dim=7), srfl=dict(type='SRFL'))
        head |= dict(sgfe=dict(type='SGFE', attention_dim=11), recovery=dict(type='LabelRecovery'))
    torch.manual_seed(0)
    return MODELS.build(dict(type='MultiLabelClassifier', backbone=backbone, head=head, size_divisor=None, **options))


@pytest.mark.parametrize('name', MINIATURES)
def test_width_and_stride_are_asked_of_the_backbone(name):
    model = build(name).eval()
    info = model.backbone.timm_model.feature_info
    assert model.head.in_channels == info.channels()[-1]
    assert model.network.size_divisor == info.reduction()[-1]
    side = info.reduction()[-1]
    outputs = model(torch.randn(2, 3, 3 * side, 2 * side))
    assert outputs['grid'] == (3, 2)
    assert outputs['token_scores'].shape == (2, 6, CLASSES)
    with pytest.raises(UserError, match=f'a multiple of {side} '):
        model(torch.randn(1, 3, 3 * side + 1, 2 * side))


@pytest.mark.parametrize('name', MINIATURES)
def test_grad_cam_of_any_backbone(name):
    model = build(name).eval()
    logits = _Logits(model)
    image = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(logits(image), model(image)['logits'])
    maps = grad_cam_maps(logits, logits.places, image, [0, 3])
    assert maps.shape == (2, 96, 96) and np.isfinite(maps).all()


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
