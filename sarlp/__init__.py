"""Multi-label image recognition with incomplete labels."""

from sarlp._stack import guard_checkpoints, guard_mmpretrain
from sarlp.version import __version__

guard_mmpretrain()
guard_checkpoints()

__all__ = ['__version__']
