"""What a method keeps between steps, and checkpoints do not hold."""

import zlib
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sarlp.errors import UserError, shorten

_OF_MODULES = {*vars(nn.Module()), 'parts'}  # of every module; of a loss, what the run sets before each step


class MethodState:
    """Looks whether what a method came to hold since its training began would be there again after a resume.

    Args:
        method: before its first step.
    """

    def __init__(self, method: nn.Module):
        self._method = method
        self._saved = set(method.state_dict())
        self._plain = dict(_plain(method))

    def require_no_new(self) -> None:
        """Raises: UserError, parameters or buffers were made in a step: too late for the optimizer and for a resume."""
        new = sorted(set(self._method.state_dict()) - self._saved)
        if new:
            raise UserError(
                f'{type(self._method).__name__} made {shorten(new)} in a step: too late to be trained, and to be '
                'filled from a checkpoint. Make parameters and buffers in __init__ or before_train(task), which knows '
                'the numbers of images and classes'
            )

    def forgotten(self) -> list[str]:
        """Attributes that are other than they were, and in no checkpoint."""
        return [name for name, value in _plain(self._method) if self._plain.get(name) != value]


def _plain(method: nn.Module) -> Iterator[tuple[str, Hashable]]:
    """Every attribute that is no part of a state dict, and what tells its values apart; ``_name`` is for one step."""
    for name, part in method.named_modules():
        for attribute, value in vars(part).items():
            told = _told(value)
            if not (attribute in _OF_MODULES or attribute.startswith('_')) and told is not None:
                yield f'{name}.{attribute}' if name else attribute, told


def _told(value: Any) -> Hashable:
    """None of what says nothing of its value, such as an object of a class of one's own."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return _told((value.float() if value.dtype == torch.bfloat16 else value).numpy())
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value).tobytes())
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, bool | int | float | str):
        return type(value).__name__, value
    if isinstance(value, Mapping):
        return 'mapping', tuple((str(key), _told(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return 'list', tuple(_told(one) for one in value)
    if isinstance(value, set | frozenset):
        return 'set', frozenset(map(str, value))
    return None
