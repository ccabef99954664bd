"""A config file as a person wrote it: what can not be read of it, and what nobody would read, is said by name."""

import ast
import difflib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError

from sarlp.engine.options import names_read, values_in
from sarlp.errors import GraveWarning, UserError, first_line, shorten

_NEAR = 0.8  # likeness of a slip


def read_config(path: str | os.PathLike) -> Config:
    """MMEngine's ``Config.fromfile``; an error in the Python of a file keeps its traceback, which names the line.

    Raises:
        UserError: it can not be put together of its bases, or imports what is not there; or it sets at its top what
            changes nothing.
    """
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:
        if error.__cause__ is None or 'custom modules' not in str(error):
            raise
        raise UserError(f'{path}: {_import_advice(Path(path), error.__cause__)}') from error
    except TypeError as error:
        if 'cannot inherit from base' not in str(error):
            raise
        raise UserError(
            f'{path}: {first_line(error)} A list takes the place of a list as a whole: write it in brackets, with all '
            'that it is to hold'
        ) from error
    except ConfigParsingError as error:
        raise UserError(
            f'{path}: {first_line(error)} Configs that came with sarlp are inherited by _base_ = ..., and not with '
            'read_base()'
        ) from error
    if not cfg.get('_scope_') and Path(path).suffix == '.py':
        _check_names(cfg, Path(path))
    return cfg


def _import_advice(path: Path, failed: BaseException) -> str:
    reason = failed.__context__ or failed
    missing = getattr(reason, 'name', None) if isinstance(reason, ModuleNotFoundError) else None
    if missing is None or missing not in str(failed):
        return f'custom_imports: {first_line(failed)}: {first_line(reason)}'
    places = [path.absolute().parent, *path.absolute().parents[1:2], Path.cwd()]
    part = missing.partition('.')[0]
    here = next((place for place in places if (place / f'{part}.py').is_file() or (place / part).is_dir()), None)
    where = 'the folder that it lies in' if here is None else str(here)
    return (
        f'custom_imports: there is no module {missing} where Python looks for modules. Set the environment variable '
        f'PYTHONPATH to {where}, or install it as a package'
    )


def _check_names(cfg: Config, path: Path) -> None:
    """Of the names at the top of a file those that it does not use itself are for the run, or a slip."""
    text = path.read_text(encoding='utf-8')
    if '_base_' not in text:  # such as one that a run wrote, in which all that was made of a name stands, too
        return
    read, ways = names_read(), [way for way, _ in values_in(cfg._cfg_dict)]
    for name in _unused(text):
        if name in read or name not in cfg:
            continue
        before = _made_of(name, cfg.text)
        near = difflib.get_close_matches(name, read, cutoff=_NEAR)
        inner = [way for way in ways if way.endswith(f'.{name}') and way.partition('.')[0] in read]
        if before is not None:
            why = 'what it inherits has made others of it, and has been read'
            meant = [way for way in ways if way.partition('.')[0] in read and way.rpartition('.')[2] in before]
        elif near or inner:
            why, meant = 'nothing reads it', near or inner
        else:
            continue
        told = f'{path}: {name} would change nothing: {why}.' + (
            f' Is one of these meant: {shorten(meant)}?' if meant else ''
        )
        if 'custom_imports' in cfg:
            warnings.warn(f'{told} Or a part of your own reads it', GraveWarning, stacklevel=1)
        else:
            raise UserError(told)


def _unused(text: str) -> Iterator[str]:
    """Names that are set at the top of a Python file and not read in it."""
    tree = ast.parse(text)
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        yield from (one.id for one in targets if isinstance(one, ast.Name) and one.id not in loaded)


def _made_of(name: str, text: str) -> set[str] | None:
    """The options that an inherited config gave the value of a name; None where it is not inherited.

    Args:
        text: of all files of the config, one after another.
    """
    if len(re.findall(rf'^{name} *=', text, re.MULTILINE)) < 2:
        return None
    return set(re.findall(rf'(\w+)=(?:list\()?{name}\b', text)) or None
