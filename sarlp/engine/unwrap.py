"""Models without their distributed wrapper."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> Any:
    """The model itself, with or without a wrapper around it."""
    return model.module if is_model_wrapper(model) else model
