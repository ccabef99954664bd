"""A layer on inputs side by side is the sum of a layer on each, with the columns of the weight that are its own."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def column_layers(inputs: Sequence[Tensor], weight: Tensor, bias: Tensor, biased: int = 0) -> list[Tensor]:
    """The parts of ``F.linear`` on inputs side by side, whose sum it is.

    Args:
        inputs: (..., width) each; they need not have the same places.
        weight: (N, sum of the widths).
        bias: (N,).
        biased: the place of the part that it is in.

    Returns:
        A tensor (..., N) for each input.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _parts(inputs, weight, bias, biased)
    kind = weight.device.type
    if torch.is_autocast_enabled(kind):  # which does not look into a function
        dtype = torch.get_autocast_dtype(kind)
        inputs, weight, bias = [each.to(dtype) for each in inputs], weight.to(dtype), bias.to(dtype)
    return list(_ColumnLayers.apply(weight, bias, biased, *inputs))


def _parts(inputs: Sequence[Tensor], weight: Tensor, bias: Tensor, biased: int) -> list[Tensor]:
    columns = weight.split(tuple(each.shape[-1] for each in inputs), 1)
    return [
        F.linear(each, own, bias if place == biased else None)
        for place, (each, own) in enumerate(zip(inputs, columns, strict=True))
    ]


class _ColumnLayers(torch.autograd.Function):
    """The gradient of the weight is written in one piece.

    torch lays that of a slice out column by column, or has it copied, and copies all of them once more to put them
    together; for a weight of some million numbers and few rows of inputs that takes as long as the products.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, biased: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, *inputs)
        ctx.biased = biased
        return tuple(_parts(inputs, weight, bias, biased))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        of_weight, of_bias, _, *of_inputs = ctx.needs_input_grad
        whole = torch.empty_like(weight) if of_weight else None
        before: list[Tensor | None] = []
        first = 0
        for each, gradient, wanted in zip(inputs, gradients, of_inputs, strict=True):
            own = slice(first, first + each.shape[-1])
            first = own.stop
            if whole is not None:
                torch.mm(gradient.flatten(0, -2).T, each.flatten(0, -2), out=whole[:, own])
            before.append(gradient @ weight[:, own] if wanted else None)
        rows = gradients[ctx.biased].flatten(0, -2)
        return whole, rows.sum(0) if of_bias else None, None, *before
