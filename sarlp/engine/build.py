"""From a config file to a Runner: what a tool needs before MMEngine takes over."""

import atexit
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_distributed

from sarlp.datasets.nesting import classes_of, name_files, order_classes, require_each_once
from sarlp.engine.config.building import known_options
from sarlp.engine.config.custom import choose_embeddings, fill_in, spread_data_sets
from sarlp.engine.config.earlier import upgrade
from sarlp.engine.config.environment import check_environment
from sarlp.engine.config.file import read_config
from sarlp.engine.config.inputs import check_inputs
from sarlp.engine.config.names import check_names
from sarlp.engine.config.options import check_texts, check_typed, merge_options, read_options
from sarlp.engine.config.parts import OF_NETWORK, check_arguments, check_parts, require_parts
from sarlp.engine.loaders import check_loader
from sarlp.engine.records.selection import hold_out_labels, measures_test_set
from sarlp.engine.run_options import check_options
from sarlp.engine.runner import MultiLabelRunner
from sarlp.engine.two_views import give_views
from sarlp.errors import UserError
from sarlp.io.embeddings import embedding_classes, load_embeddings
from sarlp.paths import find_config, find_shipped_config, variant_of


def load_config(name: str | os.PathLike, options: Mapping | Sequence[str] | None = None) -> Config:
    """Read a config by path or name (see :func:`~sarlp.paths.find_config`).

    One that is another config with another share of known labels, or with another method, need not be written down
    (:func:`~sarlp.paths.variant_of`). A method that wants a weak and a strong view gets them
    (:func:`~sarlp.engine.two_views.give_views`).

    A base that is not there, relative to the config that names it, is looked for among the configs that come with
    sarlp. The config's file name without ``.py`` is the name of its work directory below ``work_dirs``, unless it sets
    one. A list of annotation files becomes a ``ConcatDataset``.

    Args:
        name: of the config.
        options: changes, as :func:`~sarlp.engine.config.options.read_options` takes them.

    Raises:
        UserError: there is no such config, or no such base, or it is not as it must be; or an option that was typed
            changes nothing (:func:`~sarlp.engine.config.options.check_typed`).
    """
    path = find_config(name)
    typed, options = not isinstance(options, Mapping), read_options(options)
    with tempfile.TemporaryDirectory() as folder, _unwritten_bases(folder):
        file = path if path.is_file() else _write_variant(path, folder)
        cfg = read_config(file)
        check_names(cfg, file)
    cfg._cfg_dict.pop('over', None)  # what a method's file goes over has been read
    if typed:
        check_typed(cfg, options)
    merge_options(cfg, options)
    check_parts(cfg)
    upgrade(cfg)
    _give_preprocessor(cfg, path)
    check_texts(cfg)
    spread_data_sets(cfg)
    fill_in(cfg, tuple(options))
    give_views(cfg)
    hold_out_labels(cfg)
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / path.stem)
    return cfg


def _give_preprocessor(cfg: Config, path: Path) -> None:
    """Into the model, in place: MMEngine's training looks for it at the top as well, and nothing that predicts does.

    Raises:
        UserError: there is one at both places, of which the one at the top would be of no effect.
    """
    given = cfg._cfg_dict.pop('data_preprocessor', None)
    if given is None:
        return
    if (cfg.get('model') or {}).get('data_preprocessor', given) != given:
        raise UserError(
            f'{path}: data_preprocessor at the top would have no effect beside model.data_preprocessor, which differs; '
            'leave it out, or set that one'
        )
    if cfg.get('model') is not None:
        cfg.model.data_preprocessor = given


def _write_variant(path: str | Path, folder: str | Path) -> str:
    """A config that is not there (:func:`~sarlp.paths.variant_of`), as a file in ``folder``."""
    variant = variant_of(path)
    if variant is None:
        raise UserError(f'{path}: no such config')
    base, over, last = variant.base, '', ''
    if variant.ratio is not None:
        mask = (read_config(base).train_dataloader.dataset.get('label_mask')) or {}
        if 'known_ratio' not in mask:
            raise UserError(f'{path}: is not there, and {base.name} has no label mask with a known_ratio to change')
        mask = None if variant.ratio == 1 else dict(known_ratio=variant.ratio)
        last = f'train_dataloader = dict(dataset=dict(label_mask={mask!r}))\n'
    written = Path(folder) / f'{Path(path).name.removesuffix(".py")}.py'
    if variant.overlay is not None:
        over = variant.overlay.read_text(encoding='utf-8')
    if over and last:  # the method may change the training data too, so the ratio goes over it in a file of its own
        base = _write_config(written.with_name(f'method_{written.name}'), base, over)
    return str(_write_config(written, base, last or over))


def _write_config(path: Path, base: Path, text: str) -> Path:
    path.write_text(f'_base_ = {str(base.absolute())!r}\n{text}', encoding='utf-8')
    return path


@contextlib.contextmanager
def _unwritten_bases(folder: str) -> Iterator[None]:
    """Within the block a base that is not there is looked for among the shipped configs and their variants.

    MMEngine's ``package::path`` knows its own packages only, and no checkout; so its search is extended.
    """
    search = Config._get_cfg_path

    def find(base: str, config: str) -> tuple[str, str | None]:
        path, scope = search(base, config)
        if scope is None and not os.path.isfile(path):
            if variant_of(path) is None:
                try:
                    path = str(find_shipped_config(base, f'neither beside {config} nor'))
                except UserError as error:
                    raise UserError(f'{config}: its _base_ is not there. {error}') from None
            if not os.path.isfile(path):
                path = _write_variant(path, folder)
        return path, scope

    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(search)


def set_num_classes(cfg: Config, number: int, source: str) -> None:
    """Tell the head how many classes there are; ``source`` is where the number comes from, for the message.

    Raises:
        UserError: the config states another number, or what is none.
    """
    stated = cfg.model.head.get('num_classes')
    if stated is not None and type(stated) is not int:
        raise UserError(
            f'model.head.num_classes must be a whole number, got {stated!r}; leave it out to take it from the data'
        )
    if stated is not None and stated != number:
        raise UserError(
            f'the config sets model.head.num_classes = {stated}, but {source} has {number} classes; '
            'leave num_classes out to take it from the data'
        )
    cfg.model.head.num_classes = number


def init_distributed(launcher: str) -> None:
    """Start the process group where MMEngine cannot: several processes on a machine without a GPU use gloo.

    With a GPU, or a single process, MMEngine's Runner does its own.
    """
    if launcher != 'none':
        for library in ('OMP', 'MKL'):  # MMEngine sets them alike, but warns of it in every process
            os.environ.setdefault(f'{library}_NUM_THREADS', '1')
    if launcher == 'pytorch' and not torch.cuda.is_available() and not is_distributed():
        torch.distributed.init_process_group('gloo')
        atexit.register(end_distributed)  # its threads, alive at the very end, now and then abort a finished process


def end_distributed() -> None:
    """End the process group, if there is one; NCCL warns of a process that leaves it open.

    For runs that went well: where a rank failed, NCCL would wait here for the others, and they for it.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def use_amp(cfg: Config) -> None:
    """Turn on mixed precision: bfloat16 where the GPU has it, which needs no loss scaling, otherwise float16.

    Raises:
        UserError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU, and torch sees none on this machine; leave it out to train in float32')
    cfg.optim_wrapper.type = 'MixedPrecisionOptimWrapper'
    cfg.optim_wrapper.dtype = 'bfloat16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'float16'


def _dataloaders(cfg: Config, names: Sequence[str]) -> list[ConfigDict]:
    return [cfg[name] for name in names if cfg.get(name) is not None]


def build_runner(cfg: Config, launcher: str = 'none', training: bool = True):
    """Check the inputs, take the classes from the data, and build the Runner.

    Args:
        cfg: config of :func:`load_config`; completed in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        training: False for testing, which needs neither pretrained weights, nor label embeddings, nor, if the config
            measures no recovery, the training data.

    Raises:
        UserError: an input is missing or does not fit; see :func:`~sarlp.engine.config.inputs.check_inputs`. Or a part
            can not be built of what the config says (:func:`~sarlp.engine.config.building.known_options`).
    """
    upgrade(cfg)
    used = ('train_dataloader', 'optim_wrapper', 'model.method') if training else ('test_dataloader', 'test_evaluator')
    require_parts(cfg, (*OF_NETWORK, *used, f'{used[0]}.dataset'))
    check_environment(cfg)
    names = ('test_dataloader',)
    if training:
        names = ('train_dataloader', 'val_dataloader', *(names if measures_test_set(cfg) else ()))
    if training:
        check_options(cfg)
        hold_out_labels(cfg)
        choose_embeddings(cfg)
    loaders = _dataloaders(cfg, names)
    check_inputs(cfg, loaders, training)
    for name in names:
        if cfg.get(name) is not None:
            check_loader(name, cfg[name])
    classes, source = classes_of(loaders[0].dataset), name_files(loaders[0].dataset)
    for loader in loaders:
        order_classes(loader.dataset, classes, source)
    for name in names:
        if name != 'train_dataloader' and cfg.get(name) is not None:
            require_each_once(cfg[name].dataset, f'{name}.dataset')
    set_num_classes(cfg, len(classes), source)
    if cfg.model.head.get('classes', ()) is None:  # a head that puts their names into words
        cfg.model.head.classes = list(classes)
    embedding = cfg.model.head.get('label_embedding') or {}
    if training and embedding.get('file') is not None:
        load_embeddings(embedding['file'], classes)
        embedding.pop('classes', None)
        if embedding_classes(embedding['file']) != classes:
            embedding['classes'] = list(classes)  # by which the model finds its rows

    cfg.launcher = launcher
    init_distributed(launcher)
    if launcher != 'none' and not torch.cuda.is_available():
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    if not training:  # a Runner for testing gets nothing to train with
        cfg.model.pop('method', None)
        for name in (
            'train_dataloader',
            'train_cfg',
            'optim_wrapper',
            'param_scheduler',
            'val_dataloader',
            'val_cfg',
            'val_evaluator',
        ):
            cfg[name] = None
        cfg.default_hooks = {
            name: hook for name, hook in cfg.default_hooks.items() if name in ('runtime_info', 'timer', 'logger')
        }
    check_arguments(cfg._cfg_dict)
    with known_options(cfg):
        return MultiLabelRunner.from_cfg(cfg)
