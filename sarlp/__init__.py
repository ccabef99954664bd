"""Multi-label image recognition with incomplete labels."""

from typing import Any

from sarlp._stack import guard_checkpoints, guard_mmpretrain, guard_terminal
from sarlp.version import __version__

guard_terminal()
guard_mmpretrain()
guard_checkpoints()

__all__ = ['MultiLabelInferencer', '__version__']


def __getattr__(name: str) -> Any:
    if name == 'MultiLabelInferencer':  # not before it is asked for: it imports the models
        from sarlp.inferencer import MultiLabelInferencer

        return MultiLabelInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
