"""Activation checkpointing of a backbone: less memory for one more forward pass of it.

What the stages compute is not kept for the backward pass but computed again there, one stage at a time (Chen et al.,
"Training deep nets with sublinear memory cost", arXiv 1604.06174).
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from sarlp.errors import UserError


def recompute(backbone: nn.Module) -> nn.Module:
    """Let each of the :func:`stages` of a backbone be computed again in the backward pass, in place.

    Names of parameters, values and gradients stay as they are, also of dropout; running statistics are updated once.

    Raises:
        UserError: the backbone has no stages.
    """
    for stage in stages(backbone):
        stage.forward = partial(_forward, stage)  # on the object, before that of its class
    return backbone


def stages(backbone: nn.Module) -> list[nn.Module]:
    """The parts of the first level with several, such as the four of a ResNet or the blocks of a transformer.

    A part is a module with more than one layer that has parameters of its own.

    Raises:
        UserError: there are no such parts.
    """
    within = [backbone]
    while len(within) == 1:
        within = [part for part in _children(within[0]) if _layers(part) > 1]
    if not within:
        raise UserError(
            f'{type(backbone).__name__} has no stages that could be computed again; leave out model.recompute_backbone'
        )
    return within


def _children(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):  # is never called
            yield from _children(child)
        else:
            yield child


def _layers(module: nn.Module) -> int:
    return sum(bool(part._parameters) for part in module.modules())


def _forward(stage: nn.Module, *args: Any, **kwargs: Any) -> Any:
    usual = partial(type(stage).forward, stage)
    if not (stage.training and torch.is_grad_enabled()):
        return usual(*args, **kwargs)
    contexts = partial(_contexts, stage)
    return checkpoint(usual, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(stage: nn.Module) -> tuple:
    return contextlib.nullcontext(), _without_statistics(stage)


@contextlib.contextmanager
def _without_statistics(stage: nn.Module) -> Iterator[None]:
    """Let normalisation use the statistics of the batch without adding them to the running ones another time."""
    norms = [part for part in stage.modules() if isinstance(part, _NormBase) and part.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
