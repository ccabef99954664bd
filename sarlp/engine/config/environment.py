"""``env_cfg``, where MMEngine passes over what it does not know, and ``log_level``."""

import difflib
import inspect
import logging
import multiprocessing
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import utils
from mmengine.utils.dl_utils import set_multi_processing

from sarlp.errors import UserError, shorten

_LEVELS = ('CRITICAL', 'FATAL', 'ERROR', 'WARNING', 'WARN', 'INFO', 'DEBUG', 'NOTSET')
# of MMEngine's Runner; tf32 of sarlp's, onednn of its loop
_YES_OR_NO = ('cudnn_benchmark', 'tf32', 'onednn')
_READ = (*_YES_OR_NO, 'mp_cfg', 'dist_cfg', 'resource_limit')


def check_environment(cfg: Mapping) -> None:
    """See that something reads each option.

    Args:
        cfg: config.

    Raises:
        UserError: nothing reads one, or its value is none that it can have.
    """
    level = cfg.get('log_level', 'INFO')
    if level not in _LEVELS and level not in map(logging.getLevelName, _LEVELS):
        raise UserError(f'log_level must be one of {", ".join(_LEVELS)}, got {level!r}')
    env_cfg = cfg.get('env_cfg') or {}
    _check_names('env_cfg', env_cfg, _READ)
    for name in _YES_OR_NO:
        if not isinstance(value := env_cfg.get(name, False), bool):
            raise UserError(f'env_cfg.{name} must be True or False, got {value!r}')
    processes, of_ranks = env_cfg.get('mp_cfg') or {}, env_cfg.get('dist_cfg') or {}
    _check_names('env_cfg.mp_cfg', processes, _parameters(set_multi_processing) - {'distributed'})
    _check_names(
        'env_cfg.dist_cfg',
        of_ranks,
        (
            _parameters(utils.init_dist)
            | _parameters(utils._init_dist_slurm)
            | _parameters(torch.distributed.init_process_group)
        )
        - {'launcher', 'kwargs'},
    )
    start, known = processes.get('mp_start_method', 'fork'), multiprocessing.get_all_start_methods()
    if start not in known:
        raise UserError(f'env_cfg.mp_cfg.mp_start_method must be one of {", ".join(known)}, got {start!r}')


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _check_names(where: str, options: Mapping, known: Any) -> None:
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known)
            meant = f'is one of these meant: {shorten(near)}?' if near else f'there are {shorten(sorted(known), 20)}'
            raise UserError(f'{where}.{name}: nothing reads it; {meant}')
