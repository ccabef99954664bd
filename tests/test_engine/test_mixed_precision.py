"""Mixed precision on the CPU, against steps written out with torch alone."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.engine import MixedPrecisionOptimWrapper, load_config
from sarlp.errors import UserError
from sarlp.registry import MODELS

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


@pytest.fixture(scope='module')
def model():
    init_default_scope('sarlp')
    cfg = load_config('sarlp_r18_digits_p0.1').model
    cfg.head.num_classes = 7
    torch.manual_seed(0)
    return MODELS.build(cfg).train()


def batch(count=3):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 40, 40), dtype=torch.uint8, generator=random)
    labels = torch.randint(-1, 2, (count, 7), generator=random).float()
    samples = [DataSample(metainfo=dict(img_id=str(i))).set_gt_score(row) for i, row in enumerate(labels)]
    return {'inputs': list(images), 'data_samples': samples}


def wrap(module, **options):
    optimizer = dict(type='AdamW', lr=1e-2, **options.pop('optimizer', {}))
    return build_optim_wrapper(module, dict(type='MixedPrecisionOptimWrapper', optimizer=optimizer, **options))


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('dtype', DTYPES)
def test_step_equals_the_same_in_torch(model, dtype, fused):
    own, other = copy.deepcopy(model), copy.deepcopy(model)
    seen = {}
    own.backbone.layer2[0].conv1.register_forward_hook(lambda *args: seen.update(features=args[-1].dtype))
    own.method.known_loss.register_forward_hook(lambda *args: seen.update(loss=args[-1].dtype))
    torch.manual_seed(1)
    logged = own.train_step(batch(), wrap(own, dtype=dtype, optimizer=dict(fused=fused)))
    assert seen == dict(features=DTYPES[dtype], loss=torch.float32)
    assert logged['loss'].dtype == torch.float32

    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2)
    torch.manual_seed(1)
    with torch.autocast('cpu', DTYPES[dtype]):
        losses = other(**other.data_preprocessor(batch(), True), mode='loss')
    sum(losses.values()).backward()
    optimizer.step()
    assert logged['loss'].item() == pytest.approx(sum(losses.values()).item(), rel=1e-6)
    before = dict(model.named_parameters())
    for (name, actual), expected in zip(own.named_parameters(), other.parameters(), strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6, msg=name)
        assert not torch.equal(actual, before[name]), name


def small_step(wrapper, linear, scale=1.0):
    with wrapper.optim_context(linear):
        loss = (linear(torch.ones(2, 3)).float() * scale).square().sum()
    wrapper.update_params(loss)
    return loss.item()


def test_gradient_that_overflows_is_left_out():
    torch.manual_seed(0)
    linear = nn.Linear(3, 5)
    wrapper = wrap(linear, dtype='float16', loss_scale=dict(init_scale=2.0**30))
    start = linear.weight.clone()
    small_step(wrapper, linear)
    assert wrapper.scaler.get_scale() == 2.0**29
    assert torch.equal(linear.weight, start)
    assert wrapper.optimizer.state == {}  # AdamW has not seen it
    for _ in range(40):
        small_step(wrapper, linear)
    assert 1 <= wrapper.scaler.get_scale() < 2.0**20
    assert linear.weight.isfinite().all()
    assert not torch.equal(linear.weight, start)


def test_float16_begins_without_a_scale(model):
    """The losses are a thousand times a sum; 65,536 times that has no gradient in float16."""
    scales = {}
    for name, options in (('own', None), ('of torch', dict(init_scale=65536.0))):
        copied = copy.deepcopy(model)
        wrapper = wrap(copied, dtype='float16', loss_scale=options)
        copied.train_step(batch(), wrapper)
        scales[name] = wrapper.scaler.get_scale()
    assert scales == {'own': 1.0, 'of torch': 32768.0}


@pytest.mark.parametrize('dtype', DTYPES)
def test_loss_that_is_not_finite_stops_the_run(model, dtype):
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.head.recovery.score.bias.fill_(float('nan'))
    before = copy.deepcopy(copied.state_dict())
    with pytest.raises(UserError, match=r'the loss is not finite \(loss_recovery = nan'):
        copied.train_step(batch(), wrap(copied, dtype=dtype))
    for name, parameter in copied.named_parameters():
        assert parameter.detach().equal(before[name]) or name == 'head.recovery.score.bias'


def test_gradients_are_clipped_at_their_own_scale():
    norms = {}
    for name, options in (
        ('float16', dict(dtype='float16', loss_scale=dict(init_scale=64.0))),
        ('bfloat16', dict(dtype='bfloat16')),
    ):
        torch.manual_seed(0)
        linear = nn.Linear(3, 5)
        wrapper = wrap(linear, clip_grad=dict(max_norm=0.1), **options)
        small_step(wrapper, linear)
        norms[name] = wrapper.message_hub.get_scalar('train/grad_norm').current()
    torch.manual_seed(0)
    linear = nn.Linear(3, 5)
    linear(torch.ones(2, 3)).square().sum().backward()
    expected = torch.cat([p.grad.flatten() for p in linear.parameters()]).norm().item()
    assert norms['float16'] == pytest.approx(expected, rel=1e-2)
    assert norms['bfloat16'] == pytest.approx(expected, rel=5e-2)


class TestState:
    def test_the_scale_goes_on(self):
        linear = nn.Linear(3, 5)
        wrapper = wrap(linear, dtype='float16', loss_scale=dict(init_scale=8.0, growth_interval=2))
        small_step(wrapper, linear)
        state = copy.deepcopy(wrapper.state_dict())
        other = wrap(linear, dtype='float16')
        other.load_state_dict(state)
        small_step(other, linear)
        assert other.scaler.get_scale() == 16.0  # the second good step
        assert other.optimizer.state[linear.weight]['step'] == 2

    def test_bfloat16_has_none(self):
        assert 'loss_scaler' not in wrap(nn.Linear(3, 5)).state_dict()

    @pytest.mark.parametrize('source', ['float32', *DTYPES])
    @pytest.mark.parametrize('target', ['float32', *DTYPES])
    def test_a_run_goes_on_in_another_precision(self, source, target):
        linear = nn.Linear(3, 5)

        def make(kind):
            if kind == 'float32':
                return OptimWrapper(torch.optim.AdamW(linear.parameters()))
            return wrap(linear, dtype=kind)

        before, after = make(source), make(target)
        small_step(before, linear)
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        small_step(after, linear)
        assert after.optimizer.state[linear.weight]['step'] == 2


def test_dtype_that_there_is_not():
    with pytest.raises(ValueError, match="dtype must be one of bfloat16, float16, got 'float64'"):
        wrap(nn.Linear(3, 5), dtype='float64')


def test_gpu_without_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: including_emulation)
    on_gpu = SimpleNamespace(param_groups=[{'params': [SimpleNamespace(device=torch.device('cuda'))]}])
    with pytest.raises(UserError, match='this GPU has no bfloat16; .* optim_wrapper.dtype=float16'):
        MixedPrecisionOptimWrapper(optimizer=on_gpu)
