from sarlp.engine.build import build_runner, load_config
from sarlp.engine.records.checkpoint_file import read_checkpoint
from sarlp.engine.records.checkpoints import ResumableCheckpointHook
from sarlp.engine.records.selection import SelectionHook
from sarlp.engine.records.survey import find_checkpoint, newest_checkpoint
from sarlp.engine.runner import MultiLabelRunner
from sarlp.engine.tensorboard import TensorboardScalars
from sarlp.engine.trainable import TrainableOnlyHook, TrainableParametersHook, trainable_parameters
from sarlp.engine.training.compiling import compile_parts
from sarlp.engine.training.early_stopping import EarlyStoppingHook
from sarlp.engine.training.ema import EMAFromStartHook, ForeachEMA
from sarlp.engine.training.hooks import DataCheckHook, SeedHook
from sarlp.engine.training.loop import ResumableSampler, ResumableTrainLoop
from sarlp.engine.training.mixed_precision import MixedPrecisionOptimWrapper
from sarlp.engine.training.schedulers import OneCycleLR, OneCycleMomentum
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
