"""Multi-label image recognition with incomplete labels."""

from sarlp._stack import allow_runner_checkpoints, guard_mmpretrain
from sarlp.version import __version__

guard_mmpretrain()
allow_runner_checkpoints()

__all__ = ['__version__']
