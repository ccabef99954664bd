"""torch.compile where it pays."""

from collections.abc import Mapping

import torch
from torch import nn

from sarlp.engine.unwrap import unwrap


def compile_parts(model: nn.Module, options: Mapping | None = None) -> None:
    """Compile backbone and head by ``torch.compile``, in place.

    What lies around them - targets from samples, the look at the loss - is Python that would only cut the graph.
    The names of the parameters stay as they are.

    With CUDA graphs (``mode='reduce-overhead'``) what they return lies in memory that the next step writes to, so each
    forward pass of the model is announced to torch as the beginning of a step.

    Args:
        model: a :class:`~sarlp.models.MultiLabelClassifier`, or its distributed wrapper.
        options: of ``torch.compile``.
    """
    import torch._dynamo

    if has_graphs(options):
        unwrap(model).register_forward_pre_hook(_begin_step)

    parts = unwrap(model).backbone, unwrap(model).head
    # each part has a program for training and evaluation, full and last batch: more than the 8 that torch makes of all
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    for part in parts:
        part.compile(**(options or {}))


def has_graphs(options: Mapping | None) -> bool:
    """Whether options of ``torch.compile`` ask for CUDA graphs."""
    options = options or {}
    graphs = (options.get('options') or {}).get('triton.cudagraphs', False)
    return graphs or options.get('mode') in ('reduce-overhead', 'max-autotune')


def _begin_step(model: nn.Module, inputs: tuple) -> None:
    torch.compiler.cudagraph_mark_step_begin()
