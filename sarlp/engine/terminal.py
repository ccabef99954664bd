"""What a run says on the terminal. Its log file holds that and everything else."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import mmengine
from mmengine.dist import get_rank, is_distributed

_MMENGINE = Path(mmengine.__file__).parent
# of MMEngine's own making, in every run: its checkpoint hook asks for its own outdated class, and by paramwise_cfg each
# tensor of a frozen part is named, of which a line says how much is trained
_IDLE_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
_IDLE_ENDING = 'is skipped since its requires_grad=False'
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # of torchrun, srun and mpirun, before they have a group
_name: ContextVar[str] = ContextVar('name', default='')


def speaks() -> bool:
    """Whether this process is the one of several that speaks, also before they have found each other."""
    if is_distributed():
        return get_rank() == 0
    return next((os.environ[name] for name in _RANKS if name in os.environ), '0') == '0'


@contextmanager
def brief(name: str) -> Iterator[None]:
    """Within, runs say their progress and their warnings, each line after ``name``, and nothing else."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def is_brief() -> bool:
    """Whether this is within :func:`brief`."""
    return bool(_name.get())


def near(path: str | os.PathLike) -> str:
    """A path as one would type it: relative to the present folder, if it lies below that."""
    relative = os.path.relpath(path)
    return os.fspath(path) if relative.startswith(os.pardir) else relative


def say(logger: logging.Logger, text: str) -> None:
    """A line for the terminal alone, since the log file has it in other words."""
    logger.info(text, extra={'terminal': True})


def note(logger: logging.Logger, text: str) -> None:
    """Lines for the log file alone."""
    logger.info(text, extra={'terminal': False})


def set_up_terminal(logger: logging.Logger) -> logging.Logger:
    """Let MMEngine's logger show on the terminal what its reader can use; its file gets everything, as ever.

    - Of MMEngine, warnings: its environment, config, list of hooks and lines of many numbers are for the file.
    - Of others all, such as of ``runner.logger.info`` in a hook.
    - The message alone, without time and level; a warning begins with ``warning:``.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.addFilter(_for_file)
        else:
            handler.addFilter(_for_terminal)
            handler.setFormatter(_Plain())
            handler.handleError = partial(_on_error, handler.handleError)  # type: ignore[method-assign]
    return logger


def _on_error(otherwise: Callable[[logging.LogRecord], None], record: logging.LogRecord) -> None:
    """Who reads no more, such as ``head -3``, is no error: the file has it all."""
    if not isinstance(sys.exc_info()[1], BrokenPipeError):
        otherwise(record)


def _for_file(record: logging.LogRecord) -> bool:
    return not getattr(record, 'terminal', False)


def _for_terminal(record: logging.LogRecord) -> bool:
    chosen = getattr(record, 'terminal', None)
    if chosen is not None:
        return chosen
    of_mmengine = _MMENGINE in Path(record.pathname).parents
    if record.levelno < logging.WARNING:
        return not of_mmengine and not is_brief()
    said = record.getMessage()
    return not (of_mmengine and (said.startswith(_IDLE_WARNINGS) or said.endswith(_IDLE_ENDING)))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f'{record.levelname.lower()}: {text}'
        return f'{_name.get()}: {text}' if is_brief() else text
