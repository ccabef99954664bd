"""Names at the top of a config file that nobody would read."""

import ast
import difflib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from sarlp.engine.config.options import names_read, values_in
from sarlp.errors import GraveWarning, UserError, shorten

_NEAR = 0.8  # likeness of a slip


def check_names(cfg: Config, file: str | os.PathLike) -> None:
    """Of the names at the top of a file those that it does not use itself are for the run, or a slip.

    Args:
        cfg: what was read of the file.

    Raises:
        UserError: a name would change nothing. It is a warning where the config imports parts of its own.
    """
    path = Path(file)
    if path.suffix != '.py':
        return
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
