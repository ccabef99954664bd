from sarlp.engine.build import build_runner, load_config
from sarlp.engine.hooks import DataCheckHook, EMAFromStartHook, SeedHook
from sarlp.engine.runner import MultiLabelRunner, find_checkpoint, load_weights, read_checkpoint
from sarlp.engine.schedulers import OneCycleLR, OneCycleMomentum
from sarlp.engine.trainable import TrainableOnlyHook, TrainableParametersHook, trainable_parameters

__all__ = [
    'DataCheckHook',
    'EMAFromStartHook',
    'SeedHook',
    'MultiLabelRunner',
    'OneCycleLR',
    'OneCycleMomentum',
    'TrainableOnlyHook',
    'TrainableParametersHook',
    'build_runner',
    'find_checkpoint',
    'load_config',
    'load_weights',
    'read_checkpoint',
    'trainable_parameters',
]
