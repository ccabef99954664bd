"""What a GPU computes, against the CPU. Run by SARLP_TEST_GPU=1; else the suite does not see the GPU."""

import copy

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from sarlp.engine import ForeachEMA, compile_parts, load_config
from sarlp.engine.training.loss_watch import watched
from sarlp.errors import UserError
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.models.tanh_grid import tanh_grid
from sarlp.registry import MODELS

from .spread_place import spread_place

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='SARLP_TEST_GPU=1 and a GPU are needed')


@pytest.mark.parametrize('shared', [False, True])
def test_the_kernels_give_the_formula(shared):
    torch.manual_seed(0)
    inputs = [torch.randn(3, 19, 37), torch.randn(1 if shared else 3, 23, 37), torch.randn(37)]
    grad = torch.randn(3, 19, 23)
    exact = [x.double().requires_grad_() for x in inputs]
    out = torch.tanh(exact[0][:, :, None] * exact[1][:, None]) @ exact[2]
    expected = [out, *torch.autograd.grad(out, exact, grad.double())]
    on_gpu = [x.cuda().requires_grad_() for x in inputs]
    out = tanh_grid(*on_gpu)
    for actual, value in zip([out, *torch.autograd.grad(out, on_gpu, grad.cuda())], expected, strict=True):
        assert (actual.cpu().double() - value).abs().max() < 1e-5 * value.abs().max()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_as_exact_as_its_inputs(dtype):
    torch.manual_seed(0)
    u, v, w = torch.randn(5, 97, 131).to(dtype), torch.randn(1, 89, 131).to(dtype), torch.randn(131)
    grad = torch.randn(5, 97, 89)
    exact = [x.double().requires_grad_() for x in (u, v, w)]
    out = torch.tanh(exact[0][:, :, None] * exact[1][:, None]) @ exact[2]
    expected = [out, *torch.autograd.grad(out, exact, grad.double())]
    on_gpu = [x.cuda().requires_grad_() for x in (u, v, w)]
    results = []
    for _ in range(2):
        out = tanh_grid(*on_gpu)
        results.append([out.detach(), *torch.autograd.grad(out, on_gpu, grad.cuda())])
    for actual, again, value in zip(*results, expected, strict=True):
        assert torch.equal(actual, again)  # to the last bit
        assert (actual.cpu().double() - value).abs().max() < torch.finfo(dtype).eps * value.abs().max()


def test_predictions_are_those_of_the_cpu(tmp_path):
    place = spread_place(tmp_path)
    results = {}
    for device in ('auto', 'cpu'):
        inferencer = MultiLabelInferencer(place.root / 'config.py', place.root / 'model', device)
        assert next(inferencer.model.parameters()).is_cuda is (device == 'auto')
        results[device] = inferencer(place.root / 'photos', return_maps=True, progress=False)
    for actual, expected in zip(*results.values(), strict=True):
        np.testing.assert_allclose(actual.scores, expected.scores, rtol=0, atol=5e-3)  # TF32 has ten bits
        np.testing.assert_allclose(actual.maps, expected.maps, rtol=0, atol=5e-3)


class Training:
    """Steps of the digits model as the training loop takes them."""

    def __init__(self, **options):
        init_default_scope('sarlp')
        cfg = load_config('sarlp_r18_digits_p0.1', options)
        cfg.model.head.num_classes = 7
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).cuda().train()
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.average = ForeachEMA(self.model.network, momentum=0.1, update_buffers=True)
        self.losses = []

    def steps(self, count):
        with watched(self.model, self.optim_wrapper) as watch:
            for _ in range(count):
                images = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8)
                samples = [DataSample().set_gt_score(torch.randint(-1, 2, (7,)).float()) for _ in range(5)]
                data = {'inputs': [image.pin_memory() for image in images], 'data_samples': samples}
                self.model.train_step(data, self.optim_wrapper)
                self.losses.append(watch.read()['loss_known'].item())
                self.average.update_parameters(self.model.network)

    def state(self):
        optimizer = self.optim_wrapper.optimizer.state_dict()['state']
        weights = {name: one for name, one in self.model.named_parameters() if name != 'head.recovery.score.bias'}
        return copy.deepcopy((weights, optimizer, self.average.state_dict()))


BFLOAT16 = {'optim_wrapper.type': 'MixedPrecisionOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
FLOAT16 = {**BFLOAT16, 'optim_wrapper.dtype': 'float16'}


@pytest.mark.parametrize('options', [{}, BFLOAT16, FLOAT16])
def test_nobody_waits_for_the_gpu_within_a_step(options):
    training = Training(**options)
    training.steps(3)
    torch.cuda.set_sync_debug_mode('error')
    try:
        training.steps(2)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert np.isfinite(training.losses).all()


@pytest.mark.parametrize('options', [{}, BFLOAT16, FLOAT16])
def test_nothing_is_learnt_from_a_loss_that_is_not_finite(options):
    training = Training(**options)
    training.steps(2)
    with torch.no_grad():
        training.model.head.recovery.score.bias.fill_(float('nan'))
    before = training.state()
    with pytest.raises(UserError, match=r'the loss is not finite \(loss_recovery = nan\)'):
        training.steps(1)
    torch.testing.assert_close(training.state(), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.filterwarnings('ignore')  # the compiler's own
def test_cuda_graphs_train_the_same():
    """Every random number is off, so that only rounding differs."""
    quiet = {'model.head.encoder.dropout': 0.0, 'model.head.sgfe.dropout': 0.0}
    losses = []
    for options in (None, dict(mode='reduce-overhead', dynamic=False)):
        training = Training(**quiet)
        if options:
            compile_parts(training.model, options)
        torch.manual_seed(1)
        training.steps(6)
        with torch.no_grad():
            scores = training.model.eval()(torch.ones(3, 3, 64, 64, device='cuda'))['scores'].clone()
        losses.append((training.losses, scores.cpu().numpy()))
    np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=2e-2)
    np.testing.assert_allclose(losses[1][1], losses[0][1], atol=2e-2)
