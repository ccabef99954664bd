"""MMEngine's Runner, with checkpoints that are whole or absent, strict loading, and options that make it fast."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import DataLoader

from sarlp.class_names import check_names, require_same
from sarlp.engine.checkpoints import newest_checkpoint
from sarlp.engine.loaders import fit_loader
from sarlp.engine.method_hook import MethodHook
from sarlp.engine.progress import ProgressHook
from sarlp.engine.terminal import set_up_terminal
from sarlp.engine.trainable import restore_frozen
from sarlp.engine.unwrap import unwrap
from sarlp.engine.workers import shield_workers
from sarlp.errors import UserError, shorten
from sarlp.files import sync_folder
from sarlp.methods import TaskInfo


def read_file(path: str | Path) -> object:
    """Read what ``torch.save`` wrote onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or nothing that can be read safely.
    """
    try:
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu', logger='silent')
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such checkpoint') from error
    except Exception as error:  # unpickling, zip and type errors, by what the file is
        reason = re.search(r'Unsupported (?:global|operand|class)[^.]*', str(error))  # out of half a page
        reason = reason[0] if reason else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: is no checkpoint that can be loaded safely ({reason})') from error


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of the Runner onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or no checkpoint.
    """
    checkpoint = read_file(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('state_dict'), dict):
        raise UserError(
            f"{path}: is no checkpoint of sarlp: expected a dict with 'state_dict', got {_describe(checkpoint)}"
        )
    return checkpoint


def trained_classes(checkpoint: dict, path: str | Path) -> tuple[str, ...] | None:
    """The names of the classes that a checkpoint of :func:`read_checkpoint` was trained for; None if it has none.

    Raises:
        UserError: they are no list of names.
    """
    meta = checkpoint.get('meta')
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, dict) else None
    classes = dataset_meta.get('classes') if isinstance(dataset_meta, dict) else None
    return None if classes is None else check_names(classes, f'{path}, meta.dataset_meta.classes')


def find_checkpoint(path: str | Path) -> str:
    """A checkpoint by its file, or the best one of a work directory (the newest, if none was selected).

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return str(path)
    best = sorted(path.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    any_epoch = sorted(path.glob('*.pth'), key=lambda file: file.stat().st_mtime)
    if not any_epoch:
        raise UserError(f'{path}: holds no checkpoint (*.pth)')
    return str((best or any_epoch)[-1])


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return f'a dict with {", ".join(map(repr, list(value)[:5]))}{", ..." if len(value) > 5 else ""}'
    return type(value).__name__


def load_weights(model, checkpoint: dict, path: str | Path) -> None:
    """Load ``checkpoint['state_dict']``, the EMA weights, strictly.

    Only what :class:`~sarlp.engine.trainable.TrainableOnlyHook` left out may be absent.

    Raises:
        UserError: the checkpoint is of another model; missing, unexpected and misshapen entries are listed.
    """
    restore_frozen(model, checkpoint, path)
    state = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    own = model.state_dict()
    problems = {
        'missing': sorted(set(own) - set(state)),
        'unexpected': sorted(set(state) - set(own)),
        'of another shape': [
            f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
            for key in sorted(set(own) & set(state))
            if state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        lines = [f'  {len(keys)} {kind}: {shorten(keys)}' for kind, keys in problems.items() if keys]
        raise UserError(
            '\n'.join(
                [
                    f'{path}: the checkpoint is of another model than the config describes:',
                    *lines,
                    'use the config that it was trained with (it lies in its work directory)',
                ]
            )
        )
    model.load_state_dict(state, strict=False)  # equal by now, but for what the method holds, which is not in there


def task_of(dataset) -> TaskInfo:
    """What is known of a training set after its label mask, of each image once; numbers the images, in place."""
    leaves = getattr(dataset, 'leaves', [dataset])
    known = {'positive': 0, 'negative': 0}
    number = 0
    for leaf in leaves:
        leaf.first_index, number = number, number + len(leaf)
        for kind, count in leaf.label_counts().items():
            known[kind] = known[kind] + count
    return TaskInfo(dataset.classes, number, known['positive'], known['negative'])


def compile_parts(model: nn.Module, options: Mapping | None = None) -> None:
    """Compile backbone and head by ``torch.compile``, in place.

    What lies around them - targets from samples, the look at the loss - is Python that would only cut the graph.
    The names of the parameters stay as they are.

    Args:
        model: a :class:`~sarlp.models.MultiLabelClassifier`, or its distributed wrapper.
        options: of ``torch.compile``.
    """
    import torch._dynamo

    model = unwrap(model)
    # each part has a program for training and evaluation, full and last batch: more than the 8 that torch makes of all
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    for part in (model.backbone, model.head):
        part.compile(**(options or {}))


def adapt_resumed(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer that was loaded from a checkpoint compute as its own config says, in place.

    A checkpoint brings along whether the optimizer is fused, and the memory format of what it remembers of each
    parameter. Fused optimizers walk through parameter and memory side by side; if the two are laid out differently,
    they stop, or on the CPU mix up the values silently.
    """
    for group in optimizer.param_groups:
        group.update({name: value for name, value in optimizer.defaults.items() if name in ('fused', 'foreach')})
        for parameter in group['params']:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if name == 'step' and group.get('fused'):
                    state[name] = value.to(parameter.device)
                elif isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


@RUNNERS.register_module()
class MultiLabelRunner(Runner):
    """The Runner used by the tools.

    Besides what MMEngine reads it reads from the config ``channels_last`` (bool), ``env_cfg.tf32`` (bool) and
    ``compile`` (bool, or options of :func:`compile_parts`, which takes the place of MMEngine's compiling of the whole
    step).
    """

    def setup_env(self, env_cfg: dict) -> None:
        super().setup_env(env_cfg)
        if 'tf32' in env_cfg:
            torch.set_float32_matmul_precision('high' if env_cfg['tf32'] else 'highest')

    def build_logger(self, *args, **kwargs) -> MMLogger:
        return set_up_terminal(super().build_logger(*args, **kwargs))

    def register_hooks(self, *args, **kwargs) -> None:
        super().register_hooks(*args, **kwargs)
        self.register_hook(ProgressHook())
        if self._train_dataloader is not None:
            self.register_hook(MethodHook())

    def dump_config(self) -> None:
        """Into the work directory; that of a test would take the place of the one that trains, and lies by its log."""
        if self._train_loop is not None:
            super().dump_config()

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
                loader = {**self._train_dataloader, 'batch_size': self._share(self._train_dataloader['batch_size'])}
                self._train_dataloader = self.build_dataloader(loader, self.seed, rank_seeds)
            model = {**model, 'task': task_of(self._train_dataloader.dataset)}
        return super().build_model(model)

    def _share(self, total: int) -> int:
        """The batch of each process; that in a config is the total, and stays so in what is written of it."""
        if total % self.world_size:
            raise UserError(
                f'train_dataloader.batch_size = {total} is the total over all processes and must be a multiple '
                f'of their number, {self.world_size}'
            )
        return total // self.world_size

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | Mapping) -> OptimWrapper:
        method = unwrap(self.model).method
        if method.lr_mult and isinstance(optim_wrapper, Mapping):
            by_name = optim_wrapper.get('paramwise_cfg') or {}
            own = {f'method.{name}': dict(lr_mult=factor) for name, factor in method.lr_mult.items()}
            by_name = {**by_name, 'custom_keys': {**own, **by_name.get('custom_keys', {})}}
            optim_wrapper = {**optim_wrapper, 'paramwise_cfg': by_name}
        return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.cfg.get('channels_last', False):  # the first convolution turns its input by itself
            model = model.to(memory_format=torch.channels_last)
        return super().wrap_model(model_wrapper_cfg, model)

    def _maybe_compile(self, target: str) -> None:
        options = self.cfg.get('compile', False)
        if options is None or options is False:
            return
        compile_parts(self.model, None if options is True else options)
        self.logger.info('backbone and head are compiled; the first steps take minutes')

    def load_or_resume(self) -> None:
        """Resume from the newest checkpoint of the work directory that is whole, unless the config names one."""
        if self._resume and self._load_from is None and not self._has_loaded:
            newest = [None]
            if is_main_process():  # to look through gigabytes once is enough
                newest = [newest_checkpoint(self.work_dir, len(self.train_dataloader), self.logger.warning)]
            broadcast_object_list(newest)
            if newest[0] is None:
                self.logger.info(f'{self.work_dir} holds no checkpoint to resume from; the run starts at its beginning')
                return
            self._load_from = str(newest[0])
        super().load_or_resume()

    def resume(self, *args, **kwargs) -> None:
        super().resume(*args, **kwargs)
        adapt_resumed(self.optim_wrapper.optimizer)

    def get_hooks_info(self) -> str:
        """The hooks in their order, once each; MMEngine's own list repeats them for all stages over a hundred lines."""
        return ', '.join(type(hook).__name__ for hook in self._hooks)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write under a temporary name, sync, rename: a process killed meanwhile leaves the older file whole."""
        temporary = Path(out_dir) / f'.{filename}.tmp'
        try:
            super().save_checkpoint(out_dir, temporary.name, *args, **kwargs)
            with open(temporary, 'rb') as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, Path(out_dir) / filename)
            sync_folder(out_dir)
        except BaseException:
            temporary.unlink(missing_ok=True)  # on a full disk its half would take the room of the next attempt
            raise

    def _check_classes(self, checkpoint: dict, path: str | Path) -> None:
        """Weights for a class are weights for its name, also where their number fits."""
        trained = trained_classes(checkpoint, path)
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
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
        model = unwrap(self.model)
        restore_frozen(model, checkpoint, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(model, checkpoint, filename)
        self._has_loaded = True
        self.logger.info(f'loaded {filename}')
        return checkpoint
