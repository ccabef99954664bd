"""What two configs say otherwise of one part, where what is left out counts as the default."""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import Registry

from sarlp.io.json_file import show

_SLIGHT = 1e-4  # relative; 255 * 0.485 is the mean 123.675

Options = dict[str, Any]


def differences(before: Options, now: Options, registry: Registry, prefix: str = '') -> Iterator[str]:
    """``old -> new`` of each option but the type.

    Args:
        before, now: options of the part, with its ``type``.
        registry: of its type.
        prefix: of each line.
    """
    defaults = defaults_of(registry, now)
    for key in dict.fromkeys([*now, *before]):
        one, other = (side.get(key, defaults.get(key)) for side in (before, now))
        if key != 'type' and not same(one, other):
            yield f'{prefix}{key} {show(one)} -> {show(other)}'


def name_of(step: Options) -> str:
    """Its type without the package."""
    kind = step.get('type')
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '?')).rpartition('.')[2][:40]


def defaults_of(registry: Registry, step: Mapping) -> dict[str, Any]:
    """Of the options that are left out; for what the present config names. What a checkpoint names is not looked up,
    since that might import it. Options that a class hands on (``**kwargs``) have the defaults of the class it is of."""
    kind = step.get('type')
    cls = registry.get(kind) if isinstance(kind, str) else kind
    found: dict[str, Any] = {}
    for owner in (cls, *getattr(cls, '__mro__', ())[1:]):
        parameters = inspect.signature(owner).parameters.values() if callable(owner) else ()
        found = {one.name: one.default for one in parameters if one.default is not one.empty} | found
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return found


def pair_of(value: Any) -> tuple[int, int] | None:
    """(width, height) of a size, which may be one number for both; None for what is no size."""
    sides = tuple(value) if isinstance(value, list | tuple) else (value,) * 2
    return sides if len(sides) == 2 and all(type(side) is int for side in sides) else None


def same(one: Any, other: Any) -> bool:
    """Whether two options mean the same, up to rounding."""
    kinds = [isinstance(value, list | tuple) for value in (one, other)]
    if all(kinds):
        return len(one) == len(other) and all(map(same, one, other))
    if any(kinds):
        return pair_of(one) is not None and pair_of(one) == pair_of(other)
    if all(isinstance(value, int | float) for value in (one, other)):
        try:
            return math.isclose(one, other, rel_tol=_SLIGHT)
        except OverflowError:  # a whole number beyond all floats, from whomever
            return one == other
    return one == other or (any(isinstance(value, float) for value in (one, other)) and str(one) == str(other))  # inf
