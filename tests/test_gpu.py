"""What a GPU computes, against the CPU. Run by SARLP_TEST_GPU=1; else the suite does not see the GPU."""

import numpy as np
import pytest
import torch

from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.models.tanh_grid import tanh_grid

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
