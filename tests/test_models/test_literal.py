"""The fast forms of SARLP's parts against the formulas as the paper has them."""

import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.models import SGFE, SRFL, LowRankBilinearAttention
from sarlp.models.literal import literal_form
from sarlp.models.norm_of_sums import batch_norm_of_sums
from sarlp.registry import MODELS

IMAGES, GRID, CLASSES, TEXT, DIM, HIDDEN = 3, (5, 7), 11, 13, 16, 17
PLACES = GRID[0] * GRID[1]
EXACT = dict(dtype=torch.float64, value=1e-10, gradient=1e-10)
SINGLE = dict(dtype=torch.float32, value=1e-5, gradient=1e-4)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def restless(module, dtype):
    """Parameters and running statistics that all do something."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0) if name.endswith('var') else buffer.normal_()
    return module.to(dtype)


def close(actual, expected, tolerance, floor=0.0):
    """Relative to the largest number; a gradient that is zero by mathematics is noise of a thousand terms around 1."""
    scale = max(expected.abs().max().item(), floor)
    assert (actual - expected).abs().max().item() <= tolerance * scale


def assert_same(module, inputs, precision):
    """Values, gradients of parameters and inputs, and buffers afterwards."""
    other = copy.deepcopy(module)
    results = []
    for one, context in ((module, None), (other, literal_form(other))):
        own = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
        torch.manual_seed(1)  # dropout
        if context is None:
            out = one(*own)
        else:
            with context:
                out = one(*own)
        out = out.expand(len(inputs[-1]), -1, -1) if out.ndim == 2 else out  # class vectors that all images share
        torch.manual_seed(2)
        (out * torch.randn_like(out)).sum().backward()
        named = {f'input {i}': x.grad for i, x in enumerate(own)}
        results.append(
            (out, {**named, **{name: p.grad for name, p in one.named_parameters()}}, dict(one.named_buffers()))
        )
    (value, grads, buffers), (true_value, true_grads, true_buffers) = results
    assert value.shape == true_value.shape
    close(value, true_value, precision['value'])
    for name, true_grad in true_grads.items():
        if true_grad is None:
            assert grads[name] is None or not grads[name].any(), name
        else:
            close(grads[name], true_grad, precision['gradient'], floor=1.0)
    for name, true_buffer in true_buffers.items():
        close(buffers[name].double(), true_buffer.double(), precision['value'])


both_precisions = pytest.mark.parametrize('precision', [EXACT, SINGLE], ids=['float64', 'float32'])
both_modes = pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])


def tokens_and_classes(shared, classes, dtype):
    tokens = torch.randn(IMAGES, PLACES, DIM, dtype=dtype)
    return tokens, torch.randn(*([] if shared else [IMAGES]), classes, TEXT, dtype=dtype)


@both_precisions
@pytest.mark.parametrize('shared', [False, True])
def test_bilinear_attention(precision, shared):
    module = restless(LowRankBilinearAttention(DIM, TEXT, HIDDEN), precision['dtype'])
    assert_same(module, tokens_and_classes(shared, CLASSES, precision['dtype']), precision)


@both_precisions
@both_modes
@pytest.mark.parametrize('use_image', [True, False])
def test_srfl(precision, training, use_image):
    module = restless(SRFL(TEXT, DIM, out_dim=19, use_image=use_image), precision['dtype']).train(training)
    inputs = torch.randn(CLASSES, TEXT), torch.randn(IMAGES, DIM)
    assert_same(module, [x.to(precision['dtype']) for x in inputs], precision)


# few classes: their vectors go through the layer first; many: the tokens' means do
@both_precisions
@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('classes', [CLASSES, 3 * PLACES])
def test_sgfe(precision, shared, classes):
    module = restless(SGFE(classes, DIM, TEXT, HIDDEN, dropout=0.5), precision['dtype'])
    assert_same(module, tokens_and_classes(shared, classes, precision['dtype']), precision)


def test_the_cheaper_side_of_the_layer_is_chosen():
    tokens, width = torch.empty(2, 196, 2048), 4096
    assert SGFE._classes_first(tokens, torch.empty(2, 80, 2048), width)
    assert not SGFE._classes_first(tokens, torch.empty(2, 1000, 2048), width)
    assert SGFE._classes_first(torch.empty(64, 196, 2048), torch.empty(300, 768), 2816)


@pytest.mark.parametrize('parts', [{}, {'srfl': None, 'recovery': None}, {'recovery': None}])
def test_whole_head(parts):
    init_default_scope('sarlp')
    cfg = dict(
        type='SARLPHead',
        num_classes=CLASSES,
        in_channels=DIM,
        label_embedding=dict(type='LabelEmbedding', dim=TEXT, file=None),
        encoder=dict(type='TokenEncoder', num_heads=4, feedforward_dim=23),
        srfl=dict(type='SRFL'),
        sgfe=dict(type='SGFE', attention_dim=HIDDEN),
        recovery=dict(type='LabelRecovery'),
    )
    head = restless(MODELS.build({**cfg, **parts}), torch.float64)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, tokens):
            outputs = self.head(tokens, GRID)
            return torch.cat([outputs['logits'][:, None], outputs['token_scores']], 1)

    assert_same(Logits(), [torch.randn(IMAGES, PLACES, DIM, dtype=torch.float64)], EXACT)


def test_literal_form_ends_with_its_block():
    module = SRFL(TEXT, DIM)
    with literal_form(module):
        assert 'forward' in vars(module)
    assert 'forward' not in vars(module)


class TestBatchNormOfSums:
    def test_one_row_has_no_variance(self):
        with pytest.raises(ValueError, match='more than one row'):
            batch_norm_of_sums(nn.BatchNorm1d(5), torch.randn(1, 5), torch.randn(1, 5))

    def test_half_precision_keeps_its_dtype(self):
        parts = batch_norm_of_sums(nn.BatchNorm1d(5), torch.randn(3, 5).bfloat16(), torch.randn(2, 5).bfloat16())
        assert [part.dtype for part in parts] == [torch.bfloat16] * 2
