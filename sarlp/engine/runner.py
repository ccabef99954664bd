"""MMEngine's Runner, with checkpoints that are whole or absent, strict loading, and options that make it fast."""

import contextlib
import copy
import os
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from sarlp.engine.beginnings import look_at_parts, told_of
from sarlp.engine.config.building import options_of
from sarlp.engine.image_sizes import ImageSizesHook
from sarlp.engine.kept_tokens import KeptTokensHook, TokenOptions
from sarlp.engine.loaders import fit_loader, require_batches, share_of_batch
from sarlp.engine.progress import ProgressHook
from sarlp.engine.records.checkpoint_file import read_checkpoint, trained_classes
from sarlp.engine.records.provenance import LABELS, require_same_labels, seen_before, seen_labels
from sarlp.engine.records.resuming import check_resumable, sampling_of, take_over
from sarlp.engine.records.run_record import RunRecord, new_run, own_session, read_record, set_aside
from sarlp.engine.records.start import Start, alone_in, by_main_process, is_in_place, read_start
from sarlp.engine.records.survey import adopt, newest_checkpoint
from sarlp.engine.run_options import check_clipping, check_parameter_options, check_run
from sarlp.engine.single_training import SingleTrainingRunner
from sarlp.engine.task import task_of
from sarlp.engine.terminal import note, set_up_terminal
from sarlp.engine.trainable import restore_frozen
from sarlp.engine.training.accumulation import AccumulationHook
from sarlp.engine.training.compiling import compile_parts, has_graphs
from sarlp.engine.training.loop import ResumableTrainLoop
from sarlp.engine.training.method_hook import MethodHook
from sarlp.engine.training.rank_statistics import RankStatisticsHook, gather_statistics
from sarlp.engine.training.schedule_lengths import idle_schedules
from sarlp.engine.training.workers import shield_workers
from sarlp.engine.unwrap import unwrap
from sarlp.engine.weights import load_weights, require_fitting
from sarlp.errors import UserError
from sarlp.io.files import half_written, sync_folder
from sarlp.models.normalization import asks_backbone, normalization_in
from sarlp.names.class_names import require_same
from sarlp.registry import RUNNERS


@RUNNERS.register_module()
class MultiLabelRunner(SingleTrainingRunner):
    """The Runner used by the tools.

    Besides what MMEngine reads it reads from the config ``channels_last`` (bool), ``env_cfg.tf32`` (bool) and
    ``compile`` (bool, or options of :func:`compile_parts`, which takes the place of MMEngine's compiling of the whole
    step); :class:`~sarlp.engine.training.loop.ResumableTrainLoop` reads ``env_cfg.onednn`` (bool).

    Attributes:
        record: of the run, once it starts; None before, and of a Runner that was not built from a config.
    """

    record: RunRecord | None = None
    _start: Start | None = None
    _alone: Any = contextlib.nullcontext()  # of one that trains from its beginning on: no other process does here
    _resumed: dict = {}
    _before: tuple[Mapping, ...] = ()  # meta of the checkpoints that this run goes on from or begins with
    _train_dataloader: DataLoader | Mapping | None  # of MMEngine's Runner, as _has_loaded
    _has_loaded: bool

    def setup_env(self, env_cfg: dict) -> None:
        super().setup_env(env_cfg)
        self._timestamp = own_session(self.timestamp)
        if self._train_dataloader is not None:
            self._alone = contextlib.ExitStack()
            weakref.finalize(self, self._alone.close)  # of a Runner that is built, and never trains
            by_main_process(lambda: self._alone.enter_context(alone_in(self.work_dir)))
        if 'tf32' in env_cfg:
            torch.set_float32_matmul_precision('high' if env_cfg['tf32'] else 'highest')

    def build_logger(self, *args, **kwargs) -> MMLogger:
        return set_up_terminal(super().build_logger(*args, **kwargs))

    def register_hooks(self, *args, **kwargs) -> None:
        super().register_hooks(*args, **kwargs)
        self.register_hook(ProgressHook())
        if self.cfg.get('tokens') is not None:
            with options_of(self.cfg.tokens, 'tokens'):
                TokenOptions(**self.cfg.tokens)
            self.register_hook(KeptTokensHook())
        if self._train_dataloader is not None:
            for hook in (MethodHook(), AccumulationHook(), RankStatisticsHook(), ImageSizesHook()):
                self.register_hook(hook)

    def dump_config(self) -> None:
        """Into the work directory, once a run starts there (:meth:`load_or_resume`); until then it may be refused, and
        that of a test would take the place of the one that trains, and lies by its log."""

    @staticmethod
    def build_dataloader(dataloader: DataLoader | Mapping, *args, **kwargs) -> DataLoader:
        if isinstance(dataloader, Mapping):
            dataloader = fit_loader(dataloader)
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        shield_workers(loader)
        return loader

    def build_model(self, model: nn.Module | Mapping) -> nn.Module:
        """The model, and in training its task, which takes the training data; their loader is built here, once."""
        if isinstance(model, Mapping) and self._train_dataloader is not None:
            if isinstance(self._train_dataloader, Mapping):
                rank_seeds = self._randomness_cfg.get('diff_rank_seed', False)
                share = share_of_batch(self._train_dataloader['batch_size'], self.world_size)
                loader = {**self._train_dataloader, 'batch_size': share}
                self._train_dataloader = self.build_dataloader(loader, self.seed, rank_seeds)
            require_batches(self._train_dataloader)
            model = {**model, 'task': task_of(self._train_dataloader.dataset)}
        built = super().build_model(model)
        if isinstance(model, Mapping) and asks_backbone(model.get('data_preprocessor')):
            mean, std = normalization_in(built.data_preprocessor)
            backbone = type(built.backbone).__name__
            note(self.logger, f'images are normalised as {backbone} says: mean {mean}, std {std} (R, G, B of 0 to 255)')
        return built

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | Mapping) -> OptimWrapper:
        method = unwrap(self.model).method
        if method.lr_mult and isinstance(optim_wrapper, Mapping):
            by_name = optim_wrapper.get('paramwise_cfg') or {}
            own = {f'method.{name}': dict(lr_mult=factor) for name, factor in method.lr_mult.items()}
            by_name = {**by_name, 'custom_keys': {**own, **by_name.get('custom_keys', {})}}
            optim_wrapper = {**optim_wrapper, 'paramwise_cfg': by_name}
        if isinstance(optim_wrapper, Mapping):
            check_parameter_options(optim_wrapper, self.model)
            check_clipping(optim_wrapper)
        with options_of(optim_wrapper, 'optim_wrapper'):
            return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.cfg.get('channels_last', False):  # the first convolution turns its input by itself
            model = model.to(memory_format=torch.channels_last)
        return super().wrap_model(model_wrapper_cfg, model)

    def _maybe_compile(self, target: str) -> None:
        options = self.cfg.get('compile', False)
        if options is None or options is False:
            return
        options = None if options is True else options
        if has_graphs(options) and self.cfg.optim_wrapper.get('accumulative_counts', 1) > 1:
            raise UserError(
                'CUDA graphs (compile.mode) write each gradient where the one of before lies, so gradients can not be '
                'accumulated (optim_wrapper.accumulative_counts); leave out one of the two, or compile.mode=default'
            )
        if self.cfg.model.get('recompute_backbone'):
            raise UserError(
                'a compiled backbone can not be recomputed in the backward pass; leave out compile or '
                'model.recompute_backbone'
            )
        compile_parts(self.model, options)
        self.logger.info('backbone and head are compiled; the first steps take minutes')

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'MultiLabelRunner':
        """Build a Runner; one that trains starts as :func:`~sarlp.engine.records.start.read_start` reads it.

        The copy of the config that is kept and saved does not say how this one training began.

        Raises:
            UserError: the work directory holds checkpoints of another run.
        """
        if cfg.get('train_dataloader') is None:
            return super().from_cfg(cfg)
        start, cfg = read_start(cfg), copy.deepcopy(cfg)
        cfg.pop('fresh', None)
        cfg.resume, cfg.load_from = False, start.weights
        runner = super().from_cfg(cfg)
        runner._start = start
        return runner

    def train(self):
        with self._alone:
            return super().train()

    def load_or_resume(self) -> None:
        """Bring the runner to where its training starts, and its work directory into order for it."""
        start = self._start
        if start is None or self._has_loaded:
            super().load_or_resume()
            return
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name  # as MMEngine names it
        check_run(self)
        require_same_labels(self.labels)
        for line in idle_schedules(self.param_schedulers or [], self.max_epochs, len(self.train_dataloader)):
            self.logger.warning(line)
        file, self.record = by_main_process(lambda: self._choose(start))  # to look through gigabytes once is enough
        if file is not None:
            self._resume, self._load_from = True, str(file)
        elif start.resume:
            self.logger.info(f'{self.work_dir} holds no checkpoint to resume from; the run starts at its beginning')
        super().load_or_resume()
        if not self._has_loaded:
            dataset, warn = self.train_dataloader.dataset, self.logger.warning
            self._before = look_at_parts(self.cfg, dataset, self._check_classes, warn)
        if start.fresh:
            target = by_main_process(lambda: set_aside(self.work_dir, start.folder, self.timestamp, name))
            if target is not None:
                self.logger.warning(f'what was in {self.work_dir} of an earlier run is in {target} now')
        super().dump_config()

    def _choose(self, start: Start) -> tuple[Path | None, RunRecord]:
        """The checkpoint to go on from, and the record to go on with."""
        folder = None if start.folder.resolve() == Path(self.work_dir).resolve() else str(start.folder.resolve())
        record = read_record(self.work_dir)
        file = start.file
        if start.resume and file is None:
            file = newest_checkpoint(self.work_dir, self.logger.warning)
        if file is None or start.fresh or not is_in_place(self.work_dir, file):
            return file, RunRecord(new_run(), folder)
        if record is None or not record.files():
            record = adopt(self.work_dir, file, new_run())
        if record.folder != folder:
            raise UserError(
                f'{self.work_dir}: the checkpoints of its run lie in {record.place(self.work_dir)}, and are to be '
                f'written to {start.folder} now; resume with the default_hooks.checkpoint.out_dir of before'
            )
        number = [saved.file for saved in record.resumable].index(file.name)
        record.resumable = record.resumable[: number + 1]  # those after it are damaged
        here = record.resumable[-1]
        record.best = {
            metric: saved
            for metric, saved in record.best.items()
            if (saved.epoch, saved.iter) <= (here.epoch, here.iter) and file.with_name(saved.file).is_file()
        }
        return file, record

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Go on from a checkpoint, see :mod:`sarlp.engine.records.resuming`."""
        seed = self.seed
        super().resume(filename, resume_optimizer=False, resume_param_scheduler=False)
        checkpoint, self._resumed = self._resumed, {}
        name = checkpoint['meta'].get('run')
        ours = self.record
        listed = [] if ours is None else [saved.file for saved in ours.resumable]
        if ours is not None and Path(filename).name in listed and name not in (None, ours.run):
            raise UserError(
                f'{filename}: is of the run {name}, but lies among the checkpoints of the run {ours.run}. To go '
                'on from it name it, in another --work-dir: --resume FILE --work-dir DIR'
            )
        sampler = self.train_dataloader.sampler
        if getattr(sampler, 'seed', None) == seed:  # was made before the seed of the run was known
            sampler.seed = self.seed
        take_over(self, checkpoint, filename)

    def get_hooks_info(self) -> str:
        """The hooks in their order, once each; MMEngine's own list repeats them for all stages over a hundred lines."""
        return ', '.join(type(hook).__name__ for hook in self._hooks)

    @cached_property
    def _seen(self) -> dict:
        return seen_before(self.train_dataloader.dataset, *self._before)

    @cached_property
    def labels(self) -> str:
        """Which labels may be seen, see :func:`~sarlp.engine.records.provenance.seen_labels`."""
        return seen_labels(self.train_dataloader.dataset)

    def save_checkpoint(self, *args, **kwargs) -> None:
        gather_statistics(self)
        self._write_checkpoint(*args, **kwargs)

    @master_only
    def _write_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write under a temporary name, sync, rename: a process killed meanwhile leaves the older file whole."""
        kwargs['meta'] = {
            **(kwargs.get('meta') or {}),
            'sampling': sampling_of(self),
            **self._seen,
            LABELS: self.labels,
            'optimizer': type(getattr(self.optim_wrapper, 'optimizer', self.optim_wrapper)).__name__,
            **({} if self.record is None else {'run': self.record.run}),
        }
        if isinstance(self._train_loop, ResumableTrainLoop):
            self._train_loop.log_norms()
        temporary = Path(out_dir) / f'.{filename}.tmp'
        with half_written(temporary, Path(out_dir) / filename):
            super().save_checkpoint(out_dir, temporary.name, *args, **kwargs)
            with open(temporary, 'rb') as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, Path(out_dir) / filename)
            sync_folder(out_dir)

    def _check_classes(self, checkpoint: dict, path: str | Path) -> None:
        """Weights for a class are weights for its name, also where their number fits."""
        trained = trained_classes(checkpoint, path)
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            dataset: Any = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
            if trained is not None and hasattr(dataset, 'classes'):
                require_same(
                    trained,
                    dataset.classes,
                    path,
                    dataset.source,
                    'Weights belong to the classes that they were trained for: load those of a model of these classes, '
                    'or, where only the order differs, set metainfo=dict(classes=(...)) of the first training data set '
                    'to the order of the checkpoint',
                )
                return

    def load_checkpoint(self, filename: str, map_location: str = 'cpu', **kwargs) -> dict:
        """Load strictly; hooks see the checkpoint first, as in MMEngine."""
        checkpoint = read_checkpoint(filename)
        checkpoint.setdefault('meta', {}).pop('config', None)  # a config is code, and MMEngine would run it
        self._check_classes(checkpoint, filename)
        if self._resume:
            check_resumable(checkpoint, filename)
        model = unwrap(self.model)
        restore_frozen(model, checkpoint, filename)
        if self._resume:
            require_fitting(model, checkpoint, filename)  # before a hook looks at what it keeps of them
            self._without_average(checkpoint)
            self._resumed = checkpoint
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(model, checkpoint, filename, begins=self._train_loop is not None and not self._resume)
        self._has_loaded = True
        if self._train_loop is None:  # a test has named it
            note(self.logger, f'loaded {filename}')
        else:
            self.logger.info(f'loaded {filename}')
            self._before = (checkpoint['meta'],)
            key = 'resume' if self._resume else 'load_from'
            for line in told_of(key, filename, checkpoint['meta'], self.train_dataloader.dataset, self.cfg):
                self.logger.warning(line)
        return checkpoint

    def _without_average(self, checkpoint: dict) -> None:
        """Take the trained weights where a run is resumed without EMA; a checkpoint holds the average as the model."""
        average = checkpoint.get('ema_state_dict')
        if average is None or any(isinstance(hook, EMAHook) for hook in self._hooks):
            return
        trained = {name.removeprefix('module.'): value for name, value in average.items() if name.startswith('module.')}
        checkpoint['state_dict'].update(trained)
        self.logger.warning('EMA is off now: the trained weights of the checkpoint are taken, their average is dropped')
