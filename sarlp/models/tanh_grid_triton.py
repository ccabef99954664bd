"""The kernels of :mod:`sarlp.models.tanh_grid` for GPUs: the grid lives in registers only.

Each of the three results is a sum over one axis of the grid (B, P, C, A). A program owns a tile of a result and walks
along the axis that is summed, so nothing is added atomically and results do not depend on timing; its threads add up
what is theirs and meet once, at the end. As on the CPU,
``tanh(x) = 2 s - 1`` with ``s = sigmoid(2 x)``, whose derivative is ``4 s (1 - s)``; factors are taken out of the sums.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# tokens, classes, width of the piece of the grid that a program holds at once: 4,096 numbers, 32 registers a thread
_TILE = {'TILE_P': 16, 'TILE_C': 16, 'TILE_A': 16}


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
def _forward_kernel(u, v, w, out, P, C, A, v_stride, TILE_P: tl.constexpr, TILE_C: tl.constexpr, TILE_A: tl.constexpr):
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
        s = tl.sigmoid(2 * x[:, None, :] * y[None, :, :])
        total += s * weight[None, None, :]
        weights += weight
    _store(out + image * P * C, p, P, c, C, 2 * tl.sum(total, 2) - tl.sum(weights, 0))


@triton.jit
def _backward_token_kernel(
    grad, u, v, w, grad_u, P, C, A, v_stride, TILE_P: tl.constexpr, TILE_C: tl.constexpr, TILE_A: tl.constexpr
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
        s = tl.sigmoid(2 * x[:, None, :] * y[None, :, :])
        total += g[:, :, None] * s * (1 - s) * y[None, :, :]
    weight = tl.load(w + a, mask=a < A, other=0.0)
    _store(grad_u + image * P * A, p, P, a, A, 4 * weight[None, :] * tl.sum(total, 1))


@triton.jit
def _backward_class_kernel(
    grad, u, v, w, grad_v, grad_w, images, P, C, A, TILE_P: tl.constexpr, TILE_C: tl.constexpr, TILE_A: tl.constexpr
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
            s = tl.sigmoid(2 * x[:, None, :] * y[None, :, :])
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


def forward(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """:func:`sarlp.models.tanh_grid.tanh_grid`: float32, float16 or bfloat16 in, float32 sums and result."""
    u, v, w = u.contiguous(), v.contiguous(), w.contiguous()
    batch, places, classes, width, v_stride = _sizes(u, v)
    out = w.new_empty(batch, places, classes)
    programs = (batch, triton.cdiv(places, _TILE['TILE_P']), triton.cdiv(classes, _TILE['TILE_C']))
    _forward_kernel[programs](u, v, w, out, places, classes, width, v_stride, **_TILE)
    return out


def backward(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of u, v and w, all float32, from ``grad`` (B, P, C)."""
    grad, u, v, w = grad.contiguous(), u.contiguous(), v.contiguous(), w.contiguous()
    batch, places, classes, width, v_stride = _sizes(u, v)
    class_tiles, width_tiles = triton.cdiv(classes, _TILE['TILE_C']), triton.cdiv(width, _TILE['TILE_A'])
    grad_u, grad_v = torch.empty_like(u, dtype=w.dtype), torch.empty_like(v, dtype=w.dtype)
    grad_w = w.new_empty(len(v) * class_tiles, width)
    programs = (batch, triton.cdiv(places, _TILE['TILE_P']), width_tiles)
    _backward_token_kernel[programs](grad, u, v, w, grad_u, places, classes, width, v_stride, **_TILE)
    images = batch // len(v)  # that share a row of v
    _backward_class_kernel[(len(v), class_tiles, width_tiles)](
        grad, u, v, w, grad_v, grad_w, images, places, classes, width, **_TILE
    )
    return grad_u, grad_v, grad_w.sum(0).mul_(2).sub_(grad.sum())
