"""What differs between the config that a checkpoint was written under and the present one.

A checkpoint holds its config as Python text. It is read as data here, never run.
"""

import ast
from collections.abc import Iterator
from typing import Any

from sarlp.io.json_file import show

# how and where it runs, not what is trained; the seed is told of by MMEngine
_LEFT_OUT = {
    'compile', 'default_scope', 'env_cfg', 'experiment_name', 'fresh', 'launcher', 'load_from', 'log_level',
    'log_processor', 'model_wrapper_cfg', 'prepare_data', 'randomness', 'recovery_evaluator', 'resume', 'test_cfg',
    'test_dataloader', 'test_evaluator', 'text_encoder', 'visualizer', 'work_dir',
}  # fmt: skip
_WORKERS = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'}
_PLACES = {'tokens.dir', 'tokens.max_gb'}
_NONE = object()


def config_values(text: str) -> dict[str, Any]:
    """The values of a config by their dotted keys, as far as they are plain; {} for what is no config.

    Args:
        text: as MMEngine's ``Config.pretty_text`` gives it.
    """
    try:
        body = ast.parse(text).body
        values: dict[str, Any] = {}
        for statement in body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                values.update(_flat(statement.targets[0].id, statement.value))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # from whomever
        return {}
    return values


def _flat(key: str, node: ast.expr) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        items: list[tuple[Any, ast.expr]] = [(word.arg, word.value) for word in node.keywords]
    elif isinstance(node, ast.Dict):
        items = [(ast.literal_eval(name), value) for name, value in zip(node.keys, node.values, strict=True) if name]
    elif isinstance(node, ast.List | ast.Tuple) and any(isinstance(entry, ast.Call | ast.Dict) for entry in node.elts):
        items = list(enumerate(node.elts))
    else:
        try:
            yield key, ast.literal_eval(node)
        except ValueError:  # inf, nan
            yield key, ast.unparse(node)
        return
    for name, value in items:
        yield from _flat(f'{key}.{name}', value)


def config_changes(before: str, now: str) -> list[str]:
    """``key: old -> new`` of everything that bears on the training; [] if the older config can not be read.

    Args:
        before, now: as :func:`config_values` reads them.
    """
    old, new = config_values(before), config_values(now)
    if not old:
        return []
    changes = []
    for key in dict.fromkeys([*new, *old]):
        one, other = old.get(key, _NONE), new.get(key, _NONE)
        if one != other and bears_on_training(key):
            changes.append(f'{key} {_shown(one)} -> {_shown(other)}')
    return changes


def bears_on_training(key: str) -> bool:
    """Whether a dotted key of a config is of what is trained, not of how and where it runs."""
    return key not in _PLACES and key.split('.')[0] not in _LEFT_OUT and key.split('.')[-1] not in _WORKERS


def _shown(value: Any) -> str:
    return 'absent' if value is _NONE else show(value)
