"""The kernels of :mod:`sarlp.models.tanh_grid` for GPUs: the grid lives in registers only.

Each of the three results is a sum over one axis of the grid (B, P, C, A). A program owns a tile of a result and walks
along the axis that is summed, so nothing is added atomically and results do not depend on timing; its threads add up
what is theirs and meet once, at the end. As on the CPU,
``tanh(x) = 2 s - 1`` with ``s = sigmoid(2 x)``, whose derivative is ``4 s (1 - s)``; factors are taken out of the sums.

What bounds them are the special function units, that give ``s`` in two operations, an exponential and a reciprocal.
Inputs in half precision take the one operation ``tanh.approx`` instead, whose relative error of 2^-11 is theirs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Tokens, classes, width of the piece of the grid that a program holds at once: 4,096 numbers, 32 registers a thread.
# Constants, and not chosen by a measurement at run time: the order of the sums, so the last bits, hang on them.
FORWARD = {'TILE_P': 16, 'TILE_C': 16, 'TILE_A': 16, 'num_warps': 4}
BACKWARD_TOKEN = {'TILE_P': 16, 'TILE_C': 16, 'TILE_A': 16, 'num_warps': 4}
BACKWARD_CLASS = {'TILE_P': 16, 'TILE_C': 16, 'TILE_A': 16, 'num_warps': 4}


@triton.jit
def _load(pointer, row, rows, column, columns):
    """A tile of a row-major matrix as float32, 0 outside."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(pointer + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(pointer, row, rows, column, columns, value):
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(pointer + row[:, None] * columns + column[None, :], value, mask=inside)


@triton.jit
def _logistic(x, HALF: tl.constexpr):
    """``sigmoid(2 x)``, of float32."""
    if HALF:
        t = tl.inline_asm_elementwise('tanh.approx.f32 $0, $1;', '=f,f', [x], dtype=tl.float32, is_pure=True, pack=1)
        return 0.5 * t + 0.5
    else:
        return tl.sigmoid(2 * x)


@triton.jit
def _forward_kernel(
    u,
    v,
    w,
    out,
    P,
    C,
    A,
    v_stride,
    HALF: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
    TILE_A: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * TILE_P + tl.arange(0, TILE_P)
    c = tl.program_id(2) * TILE_C + tl.arange(0, TILE_C)
    total = tl.zeros((TILE_P, TILE_C, TILE_A), tl.float32)
    weights = tl.zeros((TILE_A,), tl.float32)
    for start in range(0, A, TILE_A):
        a = start + tl.arange(0, TILE_A)
        weight = tl.load(w + a, mask=a < A, other=0.0)
        x = _load(u + image * P * A, p, P, a, A)
        y = _load(v + image * v_stride, c, C, a, A)
        s = _logistic(x[:, None, :] * y[None, :, :], HALF)
        total += s * weight[None, None, :]
        weights += weight
    _store(out + image * P * C, p, P, c, C, 2 * tl.sum(total, 2) - tl.sum(weights, 0))


@triton.jit
def _backward_token_kernel(
    grad,
    u,
    v,
    w,
    grad_u,
    P,
    C,
    A,
    v_stride,
    HALF: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
    TILE_A: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * TILE_P + tl.arange(0, TILE_P)
    a = tl.program_id(2) * TILE_A + tl.arange(0, TILE_A)
    x = _load(u + image * P * A, p, P, a, A)
    total = tl.zeros((TILE_P, TILE_C, TILE_A), tl.float32)
    for start in range(0, C, TILE_C):
        c = start + tl.arange(0, TILE_C)
        y = _load(v + image * v_stride, c, C, a, A)
        g = _load(grad + image * P * C, p, P, c, C)
        s = _logistic(x[:, None, :] * y[None, :, :], HALF)
        total += g[:, :, None] * s * (1 - s) * y[None, :, :]
    weight = tl.load(w + a, mask=a < A, other=0.0)
    _store(grad_u + image * P * A, p, P, a, A, 4 * weight[None, :] * tl.sum(total, 1))


@triton.jit
def _backward_class_kernel(
    grad,
    u,
    v,
    w,
    grad_v,
    grad_w,
    images,
    P,
    C,
    A,
    HALF: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
    TILE_A: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # of v: an image, or the only one, which sums over all ``images``
    c = tl.program_id(1) * TILE_C + tl.arange(0, TILE_C)
    a = tl.program_id(2) * TILE_A + tl.arange(0, TILE_A)
    y = _load(v + row * C * A, c, C, a, A)
    total = tl.zeros((TILE_P, TILE_C, TILE_A), tl.float32)
    of_weight = tl.zeros((TILE_P, TILE_C, TILE_A), tl.float32)
    for image in range(row * images, (row + 1) * images):
        for start in range(0, P, TILE_P):
            p = start + tl.arange(0, TILE_P)
            x = _load(u + image * P * A, p, P, a, A)
            g = _load(grad + image * P * C, p, P, c, C)
            s = _logistic(x[:, None, :] * y[None, :, :], HALF)
            gs = g[:, :, None] * s
            of_weight += gs
            total += gs * (1 - s) * x[:, None, :]
    weight = tl.load(w + a, mask=a < A, other=0.0)
    _store(grad_v + row * C * A, c, C, a, A, 4 * weight[None, :] * tl.sum(total, 0))
    tile = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(grad_w + tile * A + a, tl.sum(tl.sum(of_weight, 0), 0), mask=a < A)


def _sizes(u: Tensor, v: Tensor) -> tuple[int, int, int, int, int]:
    batch, places, width = u.shape
    return batch, places, v.shape[1], width, (0 if len(v) == 1 else v.shape[1] * width)


def _half(u: Tensor) -> bool:
    """Whether there is ``tanh.approx``, which Triton's interpreter, on the CPU, has not, and it is exact enough."""
    return u.is_cuda and torch.version.hip is None and u.dtype in (torch.float16, torch.bfloat16)


def forward(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """:func:`sarlp.models.tanh_grid.tanh_grid`: float32, float16 or bfloat16 in, float32 sums and result."""
    u, v, w = u.contiguous(), v.contiguous(), w.contiguous()
    batch, places, classes, width, v_stride = _sizes(u, v)
    out = w.new_empty(batch, places, classes)
    programs = (batch, triton.cdiv(places, FORWARD['TILE_P']), triton.cdiv(classes, FORWARD['TILE_C']))
    _forward_kernel[programs](u, v, w, out, places, classes, width, v_stride, HALF=_half(u), **FORWARD)
    return out


def backward(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of u, v and w, all float32, from ``grad`` (B, P, C)."""
    grad, u, v, w = grad.contiguous(), u.contiguous(), v.contiguous(), w.contiguous()
    grad_u = backward_token(grad, u, v, w)
    grad_v, grad_w = backward_class(grad, u, v, w)
    return grad_u, grad_v, grad_w.sum(0).mul_(2).sub_(grad.sum())


def backward_token(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """The gradient of u, of contiguous tensors."""
    batch, places, classes, width, v_stride = _sizes(u, v)
    grad_u = torch.empty_like(u, dtype=w.dtype)
    tile = BACKWARD_TOKEN
    programs = (batch, triton.cdiv(places, tile['TILE_P']), triton.cdiv(width, tile['TILE_A']))
    _backward_token_kernel[programs](grad, u, v, w, grad_u, places, classes, width, v_stride, HALF=_half(u), **tile)
    return grad_u


def backward_class(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of v, and the sums of ``grad * s`` of which that of w is made, (tiles, A); of contiguous tensors."""
    batch, places, classes, width, _ = _sizes(u, v)
    tile = BACKWARD_CLASS
    tiles = triton.cdiv(classes, tile['TILE_C'])
    grad_v, grad_w = torch.empty_like(v, dtype=w.dtype), w.new_empty(len(v) * tiles, width)
    images = batch // len(v)  # that share a row of v
    _backward_class_kernel[(len(v), tiles, triton.cdiv(width, tile['TILE_A']))](
        grad, u, v, w, grad_v, grad_w, images, places, classes, width, HALF=_half(u), **tile
    )
    return grad_v, grad_w
