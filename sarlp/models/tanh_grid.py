"""The sum over a grid of hyperbolic tangents that bilinear attention needs, without ever holding the grid.

``out[b, p, c] = sum over a of w[a] * tanh(u[b, p, a] * v[b, c, a])``

The grid (B, P, C, A) is gigabytes where inputs and output are megabytes, so it is computed block by block, and again in
the backward pass. On a GPU with Triton the same is done in registers (:mod:`sarlp.models.tanh_grid_triton`).

Axis legend: ``B`` images, ``P`` tokens, ``C`` classes, ``A`` attention width.
"""

import functools
import importlib.util
from collections.abc import Iterator

import torch
from torch import Tensor

# Numbers of a block: on the CPU it should stay in the second-level cache through the half dozen operations on it, on a
# GPU it should be large enough to keep it busy and small beside the memory.
_BLOCK = {'cpu': 1 << 19, 'cuda': 1 << 25}


def tanh_grid(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Sum of ``w * tanh(u * v)`` over the last axis, for all pairs of a token and a class; differentiable once.

    Args:
        u: (B, P, A), floating point.
        v: (B, C, A), or (1, C, A) for classes that all images share; dtype of ``u``.
        w: (A,), float32, or float64 where ``u`` is.

    Returns:
        (B, P, C), of the dtype of ``w``. Half-precision inputs are computed on and summed in float32.
    """
    return torch.ops.sarlp.tanh_grid(u, v, w)


@functools.cache
def _triton_kernels():
    if importlib.util.find_spec('triton') is None:
        return None
    from sarlp.models import tanh_grid_triton

    return tanh_grid_triton


def _kernels_for(u: Tensor):
    return _triton_kernels() if u.is_cuda and u.dtype != torch.float64 else None


@torch.library.custom_op('sarlp::tanh_grid', mutates_args=())
def _forward(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    kernels = _kernels_for(u)
    return forward_in_blocks(u, v, w) if kernels is None else kernels.forward(u, v, w)


@_forward.register_fake
def _(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    return w.new_empty(u.shape[0], u.shape[1], v.shape[1])


@torch.library.custom_op('sarlp::tanh_grid_backward', mutates_args=())
def _backward(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _kernels_for(u)
    grad_u, grad_v, grad_w = (backward_in_blocks if kernels is None else kernels.backward)(grad, u, v, w)
    return grad_u.to(u.dtype), grad_v.to(v.dtype), grad_w


@_backward.register_fake
def _(grad: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(u), torch.empty_like(v), torch.empty_like(w)


def _save(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.sarlp.tanh_grid_backward(grad, *ctx.saved_tensors)


_forward.register_autograd(_differentiate, setup_context=_save)


def _blocks(u: Tensor, v: Tensor, block: int | None) -> Iterator[tuple[int, int, slice, slice]]:
    """Image, row of ``v``, tokens and classes of each block; about as many classes as tokens, so that both repay."""
    block = block or _BLOCK['cuda' if u.is_cuda else 'cpu']
    pairs = max(1, block // u.shape[2])
    classes = min(v.shape[1], max(1, int(pairs**0.5)))
    tokens = min(u.shape[1], max(1, pairs // classes))
    for image in range(len(u)):
        for p in range(0, u.shape[1], tokens):
            for c in range(0, v.shape[1], classes):
                yield image, image if len(v) > 1 else 0, slice(p, p + tokens), slice(c, c + classes)


def _logistic_grid(twice_u: Tensor, v: Tensor) -> Tensor:
    """``sigmoid(2 u v)`` (tokens, classes, A), of which ``2 s - 1`` is the tanh.

    The logistic function is three times faster than the tanh of torch on a CPU, and the factor and the offset are
    taken out of the sums.
    """
    return (twice_u[:, None] * v).sigmoid_()


def forward_in_blocks(u: Tensor, v: Tensor, w: Tensor, block: int | None = None) -> Tensor:
    """:func:`tanh_grid` by operations of torch; ``block`` numbers of the grid are held at a time."""
    u, v = u.to(w.dtype), v.to(w.dtype)
    twice_u, out = 2 * u, w.new_empty(u.shape[0], u.shape[1], v.shape[1])
    for image, row, p, c in _blocks(u, v, block):
        out[image, p, c] = _logistic_grid(twice_u[image, p], v[row, c]) @ w
    return out.mul_(2).sub_(w.sum())


def backward_in_blocks(
    grad: Tensor, u: Tensor, v: Tensor, w: Tensor, block: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of u, v and w, all of the dtype of ``w``, from ``grad`` (B, P, C); the grid is computed anew."""
    u, v, grad = u.to(w.dtype), v.to(w.dtype), grad.to(w.dtype)
    twice_u, grad_u, grad_v, grad_w = 2 * u, torch.zeros_like(u), torch.zeros_like(v), torch.zeros_like(w)
    for image, row, p, c in _blocks(u, v, block):
        tokens, classes, g = u[image, p], v[row, c], grad[image, p, c]
        grid = _logistic_grid(twice_u[image, p], classes)
        grad_w.addmv_(grid.flatten(0, 1).T, g.flatten())
        # from here on: g * s (1 - s), a quarter of the derivative of the tanh
        grid = torch.ops.aten.sigmoid_backward(g[..., None].expand_as(grid), grid)
        grad_v[row, c] += (grid * tokens[:, None]).sum(0)
        grad_u[image, p] += grid.mul_(classes).sum(1)
    scale = 4 * w
    return grad_u.mul_(scale), grad_v.mul_(scale), grad_w.mul_(2).sub_(grad.sum())
