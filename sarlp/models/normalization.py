"""The mean and the standard deviation that a backbone's weights were trained with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeGuard

from torch import nn

from sarlp.errors import UserError, UserValueError

ASK = 'backbone'  # in the place of numbers in a config


class Normalization(NamedTuple):
    """Mean and standard deviation of the channels R, G, B, of pixels in [0, 255]."""

    mean: Sequence[float]
    std: Sequence[float]


def asks_backbone(data_preprocessor: Mapping | None) -> TypeGuard[Mapping]:
    """Whether the config of a preprocessor leaves ``mean`` and ``std`` to the backbone.

    Raises:
        UserValueError: it leaves one of them, and sets the other; or it has a text that means nothing.
    """
    given = [(data_preprocessor or {}).get(name) for name in Normalization._fields]
    if any(isinstance(value, str) for value in given):
        if given != [ASK, ASK]:
            raise UserValueError(
                f'model.data_preprocessor: mean and std must both be numbers or both be {ASK!r}, got {given[0]!r} and '
                f'{given[1]!r}'
            )
        return True
    return False


def normalization_in(data_preprocessor: nn.Module) -> Normalization:
    """What a preprocessor that normalises was built with."""
    mean, std = (getattr(data_preprocessor, name).flatten().tolist() for name in Normalization._fields)
    return Normalization(mean, std)


def normalization_of(backbone: nn.Module) -> Normalization:
    """What the weights of a backbone want, from the library that they come from.

    A backbone says it by a method ``normalization()``, which returns None where it does not know. A network of timm in
    mmpretrain's wrapper is asked for timm's ``pretrained_cfg``.

    Raises:
        UserError: it can not say.
    """
    ask = getattr(backbone, 'normalization', None)
    found = ask() if callable(ask) else _of_timm(getattr(backbone, 'timm_model', None))
    if found is None:
        raise UserError(
            f'{type(backbone).__name__} can not say with which mean and std its weights were trained; set '
            'model.data_preprocessor.mean and .std to three numbers each, for pixels from 0 to 255 in the order R, G, '
            "B. Most of ImageNet's are [123.675, 116.28, 103.53] and [58.395, 57.12, 57.375]"
        )
    return found


def _of_timm(network: nn.Module | None) -> Normalization | None:
    facts = getattr(network, 'pretrained_cfg', None) or {}
    if 'mean' not in facts or 'std' not in facts:
        return None
    return Normalization(*(tuple(255 * value for value in facts[key]) for key in ('mean', 'std')))
