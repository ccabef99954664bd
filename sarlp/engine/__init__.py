from sarlp.engine.build import build_runner, load_config
from sarlp.engine.checkpoints import ResumableCheckpointHook, newest_checkpoint
from sarlp.engine.ema import EMAFromStartHook, ForeachEMA
from sarlp.engine.hooks import DataCheckHook, SeedHook
from sarlp.engine.loop import ResumableSampler, ResumableTrainLoop
from sarlp.engine.mixed_precision import MixedPrecisionOptimWrapper
from sarlp.engine.runner import MultiLabelRunner, compile_parts, find_checkpoint, load_weights, read_checkpoint
from sarlp.engine.schedulers import OneCycleLR, OneCycleMomentum
from sarlp.engine.tensorboard import TensorboardScalars
from sarlp.engine.trainable import TrainableOnlyHook, TrainableParametersHook, trainable_parameters

__all__ = [
    'DataCheckHook',
    'EMAFromStartHook',
    'ForeachEMA',
    'MixedPrecisionOptimWrapper',
    'SeedHook',
    'MultiLabelRunner',
    'OneCycleLR',
    'OneCycleMomentum',
    'ResumableCheckpointHook',
    'ResumableSampler',
    'ResumableTrainLoop',
    'TensorboardScalars',
    'TrainableOnlyHook',
    'TrainableParametersHook',
    'build_runner',
    'compile_parts',
    'find_checkpoint',
    'load_config',
    'load_weights',
    'newest_checkpoint',
    'read_checkpoint',
    'trainable_parameters',
]
