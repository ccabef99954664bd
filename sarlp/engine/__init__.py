from sarlp.engine.build import build_runner, load_config
from sarlp.engine.hooks import DataCheckHook, EMAFromStartHook, EpochSeedHook
from sarlp.engine.runner import MultiLabelRunner, find_checkpoint, load_weights, read_checkpoint
from sarlp.engine.schedulers import OneCycleLR, OneCycleMomentum

__all__ = [
    'DataCheckHook',
    'EMAFromStartHook',
    'EpochSeedHook',
    'MultiLabelRunner',
    'OneCycleLR',
    'OneCycleMomentum',
    'build_runner',
    'find_checkpoint',
    'load_config',
    'load_weights',
    'read_checkpoint',
]
