"""Convolutions and matrix products of a network that is not trained, in half of the bits."""

import contextlib

import torch
from torch import nn

PRECISIONS = ('float32', 'bfloat16', 'float16')
_LOWERED = (nn.Conv2d, nn.Linear)


def lower(module: nn.Module, precision: str) -> None:
    """Let the weights of convolutions and matrix products be of ``precision``, in place and for good.

    Args:
        precision: one of :data:`PRECISIONS`; ``'float32'`` leaves the module as it is.
    """
    if precision != 'float32':
        for part in module.modules():
            if isinstance(part, _LOWERED):
                part.to(getattr(torch, precision))


def precision_of(module: nn.Module) -> torch.dtype:
    """Of its first convolution or matrix product; float32 if it has none."""
    return next((part.weight.dtype for part in module.modules() if isinstance(part, _LOWERED)), torch.float32)


def autocast_as_lowered(module: nn.Module, device: torch.device) -> contextlib.AbstractContextManager:
    """Within, a module that was lowered computes in its precision; one that was not, as it would without."""
    dtype = precision_of(module)
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
