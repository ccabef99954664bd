"""torch.compile where it pays."""

from collections.abc import Mapping

from torch import nn

from sarlp.engine.unwrap import unwrap


def compile_parts(model: nn.Module, options: Mapping | None = None) -> None:
    """Compile backbone and head by ``torch.compile``, in place.

    What lies around them - targets from samples, the look at the loss - is Python that would only cut the graph.
    The names of the parameters stay as they are.

    Args:
        model: a :class:`~sarlp.models.MultiLabelClassifier`, or its distributed wrapper.
        options: of ``torch.compile``.
    """
    import torch._dynamo

    parts = unwrap(model).backbone, unwrap(model).head
    # each part has a program for training and evaluation, full and last batch: more than the 8 that torch makes of all
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    for part in parts:
        part.compile(**(options or {}))
