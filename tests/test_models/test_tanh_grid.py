"""The sum over the grid against the grid itself, and the GPU's kernels as far as a machine without a GPU can."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from sarlp.models import tanh_grid as module
from sarlp.models.tanh_grid import backward_in_blocks, forward_in_blocks, tanh_grid

IMAGES, PLACES, CLASSES, WIDTH = 3, 19, 23, 37
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='Triton comes with GPU builds only'
)


def make(shared, dtype):
    torch.manual_seed(0)
    u = torch.randn(IMAGES, PLACES, WIDTH, dtype=dtype)
    v = torch.randn(1 if shared else IMAGES, CLASSES, WIDTH, dtype=dtype)
    return u, v, torch.randn(WIDTH, dtype=dtype), torch.randn(IMAGES, PLACES, CLASSES, dtype=dtype)


def by_the_formula(u, v, w, grad):
    """Value and gradients of u, v, w, through torch's own derivative of the whole grid, in float64."""
    u, v, w = (x.double().requires_grad_() for x in (u, v, w))
    out = torch.tanh(u[:, :, None] * v[:, None]) @ w
    return [out.detach(), *torch.autograd.grad(out, (u, v, w), grad.double())]


def assert_equal(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert ((one.double() - other).abs().max() / other.abs().max()).item() < tolerance


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_and_gradients(shared, dtype, tolerance):
    u, v, w, grad = make(shared, dtype)
    inputs = [x.clone().requires_grad_() for x in (u, v, w)]
    out = tanh_grid(*inputs)
    assert_equal([out, *torch.autograd.grad(out, inputs, grad)], by_the_formula(u, v, w, grad), tolerance)


# from one pair at a time over blocks that end in the middle to one block larger than everything
@pytest.mark.parametrize('block', [1, 7 * WIDTH, 40 * WIDTH, 10**9])
def test_any_size_of_the_blocks(block):
    u, v, w, grad = make(False, torch.float64)
    actual = [forward_in_blocks(u, v, w, block), *backward_in_blocks(grad, u, v, w, block)]
    assert_equal(actual, by_the_formula(u, v, w, grad), 1e-12)


def test_half_precision_is_summed_in_float32():
    u, v, w, grad = make(False, torch.float32)
    inputs = [u.bfloat16().requires_grad_(), v.bfloat16().requires_grad_(), w.requires_grad_()]
    out = tanh_grid(*inputs)
    assert out.dtype == torch.float32
    grads = torch.autograd.grad(out, inputs, grad)
    assert [x.dtype for x in grads] == [torch.bfloat16, torch.bfloat16, torch.float32]
    expected = by_the_formula(*(x.detach() for x in inputs), grad)
    assert_equal([out, grads[2]], [expected[0], expected[3]], 1e-5)
    assert_equal(grads[:2], expected[1:3], 1e-2)  # rounded once, to the eight bits of bfloat16


def test_extreme_values_stay_finite():
    u = torch.tensor([[[-1e30, -100.0, -0.0, 1e-30, 100.0, 1e30]]], requires_grad=True)
    v, w = torch.ones(1, 1, 6, requires_grad=True), torch.tensor([1.0, 2, 4, 8, 16, 32], requires_grad=True)
    out = tanh_grid(u, v, w)
    assert out.item() == pytest.approx(-1 - 2 + 16 + 32)
    for grad in torch.autograd.grad(out, (u, v, w)):
        assert grad.isfinite().all()


@pytest.mark.filterwarnings('ignore:The .grad attribute')  # torch's checks read it themselves
def test_torch_accepts_the_operator():
    """Shapes and dtypes for the compiler, the registered derivative, no hidden writes: torch's own checks."""
    u, v, w, grad = make(True, torch.float64)
    torch.library.opcheck(torch.ops.sarlp.tanh_grid, [x.requires_grad_() for x in (u, v, w)])
    torch.library.opcheck(torch.ops.sarlp.tanh_grid_backward, (grad, u.detach(), v.detach(), w.detach()))


def test_the_grid_is_never_held():
    """The largest allocation within a step stays within what a block may have."""
    u, v = torch.randn(1, 97, 128, requires_grad=True), torch.randn(1, 1009, 128, requires_grad=True)
    activities = [torch.profiler.ProfilerActivity.CPU]  # by default also those of a GPU
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        tanh_grid(u, v, torch.ones(128)).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events() if event.name == 'aten::empty')
    assert 0 < largest <= 4 * max(module._BLOCK['cpu'], 97 * 1009)
    assert largest < 4 * 97 * 1009 * 128 / 10


KERNELS = """
import torch
from sarlp.models import tanh_grid_triton as kernels
from test_tanh_grid import assert_equal, by_the_formula, make

def small(shared):  # the interpreter is slow, and two tiles along each axis are enough
    u, v, w, grad = make(shared, torch.float32)
    return u[:2, :17, :19], v[:2, :18, :19], w[:19], grad[:2, :17, :18]

for shared in (False, True):
    u, v, w, grad = small(shared)
    actual = [kernels.forward(u, v, w), *kernels.backward(grad, u, v, w)]
    assert_equal(actual, by_the_formula(u, v, w, grad), 1e-5)
u, v, w, grad = small(True)
u, v = u.bfloat16(), v.bfloat16()
actual = [kernels.forward(u, v, w), *kernels.backward(grad, u, v, w)]
assert all(x.dtype == torch.float32 for x in actual)
assert_equal(actual, by_the_formula(u, v, w, grad), 1e-5)
"""


@needs_triton
def test_kernels_give_the_formula_in_the_interpreter():
    """A process of its own: Triton decides when a kernel is defined whether it is interpreted."""
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # also where sarlp is not installed
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': path}
    done = subprocess.run([sys.executable, '-c', KERNELS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_triton
@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_kernels_compile_to_machine_code(dtype):
    """For a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sarlp.models import tanh_grid_triton as kernels

    def kind(name):
        if name == 'HALF' or name.startswith('TILE'):
            return 'constexpr'
        if name in ('u', 'v'):
            return f'*{dtype}'
        return '*fp32' if name in ('w', 'out', 'grad', 'grad_u', 'grad_v', 'grad_w') else 'i32'

    half = dtype == 'bf16'
    for kernel, tile in (
        (kernels._forward_kernel, kernels.FORWARD),
        (kernels._backward_token_kernel, kernels.BACKWARD_TOKEN),
        (kernels._backward_class_kernel, kernels.BACKWARD_CLASS),
    ):
        signature = {name: kind(name) for name in kernel.arg_names}
        sizes = {name: value for name, value in tile.items() if name in signature}
        compiled = triton.compile(
            ASTSource(kernel, signature, constexprs={'HALF': half, **sizes}),
            target=GPUTarget('cuda', 90, 32),
            options={'num_warps': tile['num_warps']},
        )
        assert compiled.asm['cubin']
        assert ('tanh.approx' in compiled.asm['ptx']) is half
        assert ('ex2.approx' in compiled.asm['ptx']) is not half
