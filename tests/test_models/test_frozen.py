"""Backbones that are not trained, in the precision of choice."""

import copy

import pytest
import torch
from torch import nn

from sarlp.errors import UserValueError
from sarlp.inference import prepare_for_inference
from sarlp.models.fold import fold_batch_norm
from sarlp.models.frozen import freeze, is_same_frozen
from sarlp.models.precision import PRECISIONS, precision_of

from .test_backbones import ALL, build, timm

FLOAT = dict(frozen_precision='float32')
NORMS = (nn.BatchNorm2d, nn.LayerNorm)


@pytest.mark.parametrize('backbone', ALL)
def test_half_of_the_bits_are_autocast(backbone):
    """By torch's own autocast of the model of float32 weights, image by image."""
    plain = build(backbone, 'BaselineHead').eval()
    lowered = build(backbone, 'BaselineHead', frozen_backbone=True, frozen_precision='bfloat16')
    side = plain.network.size_divisor * 2
    images = torch.randn(3, 3, side, side)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        expected = torch.cat([plain.network.backbone_tokens(image)[0] for image in images.split(1)])
    exact = plain.network.backbone_tokens(images)[0]
    tokens, _ = lowered.network.backbone_tokens(images)
    assert tokens.dtype == torch.float32 and not tokens.requires_grad
    assert torch.equal(tokens, expected.float())
    assert 0 < (tokens - exact).abs().mean() < 0.1 * exact.abs().mean()
    assert not torch.is_autocast_enabled('cpu')
    # the head is not lowered, and a checkpoint goes from one to the other
    assert lowered.head.score.weight.dtype == torch.float32
    lowered.load_state_dict(plain.state_dict())
    assert precision_of(lowered.backbone) == torch.bfloat16
    assert {part.weight.dtype for part in lowered.backbone.modules() if isinstance(part, NORMS)} <= {torch.float32}


def test_the_default_is_float32():
    models = [build(timm('test_resnet'), 'BaselineHead', frozen_backbone=True, **one) for one in ({}, FLOAT)]
    assert is_same_frozen(*(model.backbone for model in models))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(*(model(images)['logits'] for model in models))
    lowered = build(timm('test_resnet'), 'BaselineHead', frozen_backbone=True, frozen_precision='bfloat16')
    assert not is_same_frozen(models[0].backbone, lowered.backbone)
    # equal values of two precisions compute otherwise
    rounded = copy.deepcopy(lowered.backbone).float()
    assert not is_same_frozen(rounded, lowered.backbone)


def test_it_is_prepared_for_inference_as_it_is():
    model = build(timm('test_resnet'), 'BaselineHead', frozen_backbone=True, frozen_precision='bfloat16').eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        scores = model(images)['scores']
        assert fold_batch_norm(copy.deepcopy(model)) == 0  # the products would be rounded once more
        prepared = prepare_for_inference(model, channels_last=True)
        assert torch.allclose(prepared(images)['scores'], scores, atol=1e-3)


@pytest.mark.parametrize('wrong', ['half', 16, 'bf16'])
def test_no_such_precision(wrong):
    with pytest.raises(
        UserValueError, match=f'frozen_precision must be one of {", ".join(PRECISIONS)}, .* got {wrong!r}'
    ):
        build(timm('test_resnet'), 'BaselineHead', frozen_backbone=True, frozen_precision=wrong)
    with pytest.raises(UserValueError, match="got 'bfloat16' with model.frozen_backbone=False"):
        build(timm('test_resnet'), 'BaselineHead', frozen_precision='bfloat16')


def test_what_is_frozen_stays_in_evaluation():
    backbone = freeze(nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)), 'bfloat16').train()
    assert not backbone.training and not any(part.training for part in backbone.modules())
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 7, 7))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
