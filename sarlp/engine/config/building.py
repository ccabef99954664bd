"""What a part of MMEngine, mmpretrain or torch refuses as it is built from a config, in one line."""

import contextlib
import difflib
import re
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, build_from_cfg

from sarlp.engine.config.options import values_in
from sarlp.errors import UserError, UserValueError, first_line, shorten
from sarlp.io.json_file import show

_NO_ARGUMENT = re.compile(r"([\w.]+)\.(?:__init__|set_randomness)\(\) got an unexpected keyword argument '(\w+)'")
_CORRECT = 'correct it, or leave it out (what is inherited, by _delete_=True in that dict)'
# what constructors raise for options that they can make nothing of
_REFUSALS = (
    *(TypeError, ValueError, LookupError, AttributeError),
    *(AssertionError, ArithmeticError, RuntimeError),
)


@contextlib.contextmanager
def options_of(part: Any, where: str) -> Iterator[None]:
    """Report what a part of MMEngine or torch refuses as it is built from the config."""
    shown = show(dict(part) if isinstance(part, Mapping) else part)  # before it is taken apart
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AssertionError, ArithmeticError) as error:
        told = f'the key {error} is missing' if isinstance(error, KeyError) and len(str(error)) < 40 else str(error)
        more = f'; {_CORRECT}' if 'unexpected keyword argument' in told else ''
        raise UserValueError(
            f'{where} can not be built: {_unknown_type(error) or told}{more}. It is {shown}'
        ) from error


@contextlib.contextmanager
def known_options(cfg: Config) -> Iterator[None]:
    """Within the block, where parts of a config are built, an option that a part refuses is a slip in the config.

    With ``log_level='DEBUG'`` errors are left as they are, for who writes a part of one's own.

    Raises:
        UserError: a part has no argument of a name that the config has, there is no such part, or it can not be built
            of its options.
    """
    try:
        yield
    except UserError:
        raise
    except _REFUSALS as error:
        if cfg.get('log_level') == 'DEBUG':
            raise
        ways = list(values_in(cfg._cfg_dict))
        told = _unknown_argument(error, ways) or _refused_part(error, ways)
        if told is None:
            raise
        raise UserError(told) from error


def _unknown_argument(error: BaseException, ways: list[tuple[str, Any]]) -> str | None:
    found = _NO_ARGUMENT.fullmatch(str(error)) if isinstance(error, TypeError) else None
    if found is None:
        return None
    named = [way for way, _ in ways if way.endswith(f'.{found[2]}')]
    return f'{shorten(named)}: {found[1]} has no argument {found[2]}; {_CORRECT}' if named else None


def _refused_part(error: BaseException, ways: list[tuple[str, Any]]) -> str | None:
    """Of the innermost part that was being built; None where none was."""
    names = _innermost(error.__traceback__)
    if names is None:
        return None
    part = names['cfg']
    if not isinstance(part, Mapping):
        return f'{show(part)}: expected the config of a {names["registry"].name}, dict(type=...)'
    where = [way for way, value in ways if isinstance(value, Mapping) and _same_part(value, part)]
    told = _unknown_type(error)
    if told is None:
        told = (
            f'{part.get("type")} can not be built: {_reason(error)}. Correct its options (log_level=DEBUG tells more)'
        )
    return f'{shorten(where)}: {told}' if where else told


def _same_part(one: Mapping, other: Mapping) -> bool:
    """A part that is built has more options than its config where others are given besides."""
    return 'type' in one and all(key in other and other[key] == value for key, value in one.items())


def _innermost(trace: TracebackType | None) -> dict[str, Any] | None:
    """The local names of the last call of MMEngine's ``build_from_cfg`` that did not return."""
    found = None
    for frame, _ in traceback.walk_tb(trace):
        if frame.f_code is build_from_cfg.__code__:
            found = frame.f_locals
    return found


def _unknown_type(error: BaseException) -> str | None:
    """What may be meant by a type that no registry knows; None where the error is another one."""
    names = _innermost(error.__traceback__) if isinstance(error, KeyError) else None
    if names is None or names.get('obj_cls', 0) is not None:
        return None
    return no_such_type(names['registry'], names['obj_type'])


def no_such_type(registry: Registry, kind: str) -> str:
    """What may be meant by a type that a registry does not know."""
    known = {name.lower(): name for name in sorted(_names_in(registry))}
    near = [known[name] for name in difflib.get_close_matches(kind.lower(), known)]
    meant = f'Is one of these meant: {shorten(near)}?' if near else f'There are {shorten([*known.values()])}.'
    return f'type={kind} is no {registry.name}. {meant} One of your own is imported by custom_imports'


def _names_in(registry: Registry) -> Iterator[str]:
    registry.import_from_location()
    yield from registry.module_dict
    if registry.parent is not None:
        yield from registry.parent.module_dict


def _reason(error: BaseException) -> str:
    """What a bare ``assert`` says is its own line."""
    if str(error).strip():
        return first_line(error)
    return traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__
