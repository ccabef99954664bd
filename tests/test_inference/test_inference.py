"""Models made faster for inference against the same models as they were trained, and prediction of batches."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.engine import load_config
from sarlp.inference import Predictor, prepare_for_inference
from sarlp.models.fold import fold_batch_norm
from sarlp.registry import MODELS

CLASSES = 7
CLIP = dict(type='CLIPResNet', layers=(1, 2, 1, 1), width=4, heads=4, output_dim=16, image_size=64, image_token=False)


def build(kind):
    """A model with BatchNorm statistics of its own in every layer, in evaluation mode."""
    init_default_scope('sarlp')
    cfg = load_config('baseline_r18_digits_p0.1' if kind == 'baseline' else 'sarlp_r18_digits_p0.1').model.to_dict()
    cfg['head']['num_classes'] = CLASSES
    if kind == 'sgre':
        embedding = dict(type='LabelEmbedding', dim=16, file=None)
        cfg['head'] = dict(type='SGREHead', in_channels=64, attention_dim=32, label_embedding=embedding)
        cfg['head'] |= dict(num_classes=CLASSES)
    if kind == 'clip_lora':
        cfg['backbone'] = CLIP | dict(lora=dict(r=2, alpha=8))
        cfg['head'] = dict(type='BaselineHead', num_classes=CLASSES, in_channels=16)
        cfg['size_divisor'] = 32
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if '.lora_B.' in name and isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def images(side=64, count=3):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
@pytest.mark.parametrize('kind', ['baseline', 'sarlp', 'sgre', 'clip_lora'])
def test_folding_changes_no_output(kind):
    model = build(kind)
    exact = copy.deepcopy(model).double()
    expected, expected_exact = model(images()), exact(images().double())
    before = len(norms(model))
    folded = prepare_for_inference(model)
    assert folded is model
    assert len(norms(model)) <= 1  # SRFL's, which follows no layer that could take it
    assert before > 10
    assert not any('.lora_' in name for name, _ in model.named_modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    prepare_for_inference(exact)
    actual, actual_exact = model(images()), exact(images().double())
    for name in ('logits', 'token_scores', 'scores'):
        spread = expected[name].std()
        assert spread > 1e-3
        torch.testing.assert_close(actual[name] / spread, expected[name] / spread, rtol=1e-5, atol=1e-5)
        if name != 'scores':  # which are float32
            torch.testing.assert_close(actual_exact[name], expected_exact[name], rtol=1e-10, atol=1e-10)


def test_folding_counts_and_wants_evaluation_mode():
    model = build('sgre')
    expected = len(norms(model))
    with pytest.raises(ValueError, match=r'evaluation mode only; call model\.eval\(\) first'):
        fold_batch_norm(model.train())
    assert fold_batch_norm(model.eval()) == expected
    assert fold_batch_norm(model) == 0


@torch.no_grad()
@pytest.mark.parametrize('fold', [True, False])
@pytest.mark.parametrize(('precision', 'tolerance'), [('bfloat16', 0.03), ('float16', 0.004)])
@pytest.mark.parametrize('kind', ['sarlp', 'clip_lora'])
def test_lower_precision(kind, precision, tolerance, fold):
    model = build(kind)
    expected = model(images())
    prepare_for_inference(model, fold=fold, precision=precision)
    assert (len(norms(model)) > 10) is not fold
    seen = []
    convolution = next(module for module in model.backbone.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    actual = model(images())
    assert seen == [getattr(torch, precision)]
    assert convolution.weight.dtype == getattr(torch, precision)
    assert actual['scores'].dtype == torch.float32
    difference = (actual['scores'] - expected['scores']).abs().max() / expected['scores'].std()
    assert 1e-6 < difference < tolerance


@torch.no_grad()
def test_channels_last():
    model = build('sarlp')
    expected = model(images())['logits']
    prepare_for_inference(model, channels_last=True)
    assert model.backbone.layer2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.backbone(images())[-1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images())['logits'], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch hides it
def test_compiled():
    torch._dynamo.reset()
    model = build('baseline')
    names = set(copy.deepcopy(prepare_for_inference(copy.deepcopy(model))).state_dict())
    with torch.inference_mode():
        expected = model(images())['logits']
        prepare_for_inference(model, compile=dict(backend='eager', fullgraph=True), channels_last=True)
        torch._dynamo.utils.counters.clear()
        actual = model(images())['logits']
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert set(model.state_dict()) == names


def test_precision_that_there_is_not():
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16, got 'int8'"):
        prepare_for_inference(build('baseline'), precision='int8')


class TestPredictor:
    @pytest.fixture
    def paths(self, tmp_path):
        random = np.random.default_rng(0)
        sizes = [(40, 48), (40, 48), (48, 40), (40, 48), (40, 48)]
        for index, size in enumerate(sizes):
            colours = random.integers(0, 256, (3, 4, 3), np.uint8)
            cv2.imwrite(
                str(tmp_path / f'{index}.png'), cv2.resize(colours, size[::-1], interpolation=cv2.INTER_NEAREST)
            )
        return [tmp_path / f'{index}.png' for index in range(len(sizes))]

    @pytest.fixture
    def predictor(self):
        model = build('baseline')
        pipeline = [dict(type='LoadImage'), dict(type='PackMultiLabel')]
        model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
        return Predictor(model)

    def test_batches_equal_single_images(self, predictor, paths):
        batches = []
        predictor.model.register_forward_hook(lambda module, args, output: batches.append(len(args[0])))
        together = predictor.predict(map(str, paths))
        assert batches == [2, 1, 2]  # as far as the sizes are equal
        assert [result['grid'] for result in together] == [(5, 6), (5, 6), (6, 5), (5, 6), (5, 6)]
        for path, actual in zip(paths, together, strict=True):
            expected = predictor(path)
            assert actual.keys() == expected.keys() == {'scores', 'token_scores', 'grid'}
            assert actual['token_scores'].shape == (30, CLASSES)
            for key in ('scores', 'token_scores'):
                np.testing.assert_allclose(actual[key], expected[key], rtol=1e-4, atol=1e-5)
        assert np.abs(together[0]['scores'] - together[1]['scores']).max() > 1e-4
        assert predictor.predict([]) == []

    def test_gradients_can_be_taken_afterwards(self, predictor, paths):
        """Nothing that is kept from inference mode stands in the way of Grad-CAM."""
        predictor(paths[0])
        image = predictor.load(paths[0]).requires_grad_()
        predictor.model(image)['logits'].sum().backward()
        assert image.grad.abs().max() > 0

    def test_fast_model(self, predictor, paths):
        expected = predictor.predict(paths)
        prepare_for_inference(predictor.model, precision='bfloat16', channels_last=True)
        for one, other in zip(predictor.predict(paths), expected, strict=True):
            assert one['scores'].dtype == one['token_scores'].dtype == np.float32
            np.testing.assert_allclose(one['scores'], other['scores'], atol=0.03)
