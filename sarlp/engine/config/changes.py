"""What differs between the config that a checkpoint was written under and the present one.

A checkpoint holds its config as Python text. It is read as data here, never run.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from sarlp.io.json_file import show

# how and where it runs, not what is trained; the seed is told of by MMEngine
_LEFT_OUT = {
    'compile', 'default_scope', 'env_cfg', 'experiment_name', 'fresh', 'launcher', 'load_from', 'log_level',
    'log_processor', 'model_wrapper_cfg', 'prepare_data', 'randomness', 'recovery_evaluator', 'resume', 'test_cfg',
    'test_dataloader', 'test_evaluator', 'test_pipeline', 'text_encoder', 'visualizer', 'work_dir',
}  # fmt: skip
_WORKERS = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'}
_PLACES = {'tokens.dir', 'tokens.max_gb'}
_OF_THE_TEST = {'recovery_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator', 'test_pipeline'}
_NONE = object()


def config_values(config: str | Config) -> dict[str, Any]:
    """The values of a config by their dotted keys; {} for a text that is no config.

    Args:
        config: itself, or its text as MMEngine's ``Config.pretty_text`` gives it, of which what is not plain, such as
            ``inf``, stays text.
    """
    if isinstance(config, Config):
        return dict(_flat(config.to_dict()))
    try:
        tree = {
            statement.targets[0].id: _read(statement.value)
            for statement in ast.parse(config).body
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
        return dict(_flat(tree))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):  # from whomever
        return {}


def _read(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {word.arg: _read(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(name): _read(value) for name, value in pairs if name}
    if isinstance(node, ast.List | ast.Tuple) and any(isinstance(part, ast.Call | ast.Dict) for part in ast.walk(node)):
        return [_read(entry) for entry in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:  # inf, nan
        return ast.unparse(node)


def _flat(tree: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif _has_parts(tree):
        items = enumerate(tree)
    else:
        yield key, tree
        return
    for name, value in items:
        yield from _flat(value, f'{key}.{name}' if key else str(name))


def _has_parts(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(entry, Mapping) or _has_parts(entry) for entry in value)


def config_changes(before: str, now: str) -> list[str]:
    """``key: old -> new`` of everything that bears on the training; [] if the older config can not be read.

    Args:
        before, now: texts, as :func:`config_values` reads them.
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


def bears_on_test(key: str) -> bool:
    """Whether a dotted key, which is of no training, is of what a trained model is measured on, and how."""
    return key.split('.')[0] in _OF_THE_TEST and key.split('.')[-1] not in _WORKERS


def _shown(value: Any) -> str:
    return 'absent' if value is _NONE else show(value)
