from sarlp.engine.build import build_runner, load_config
from sarlp.engine.checkpoint_file import read_checkpoint
from sarlp.engine.checkpoints import ResumableCheckpointHook
from sarlp.engine.compiling import compile_parts
from sarlp.engine.early_stopping import EarlyStoppingHook
from sarlp.engine.ema import EMAFromStartHook, ForeachEMA
from sarlp.engine.hooks import DataCheckHook, SeedHook
from sarlp.engine.loop import ResumableSampler, ResumableTrainLoop
from sarlp.engine.mixed_precision import MixedPrecisionOptimWrapper
from sarlp.engine.runner import MultiLabelRunner
from sarlp.engine.schedulers import OneCycleLR, OneCycleMomentum
from sarlp.engine.selection import SelectionHook
from sarlp.engine.survey import find_checkpoint, newest_checkpoint
from sarlp.engine.tensorboard import TensorboardScalars
from sarlp.engine.trainable import TrainableOnlyHook, TrainableParametersHook, trainable_parameters
from sarlp.engine.weights import load_weights

__all__ = [
    'DataCheckHook',
    'EMAFromStartHook',
    'EarlyStoppingHook',
    'ForeachEMA',
    'MixedPrecisionOptimWrapper',
    'SeedHook',
    'SelectionHook',
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
