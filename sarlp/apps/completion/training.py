"""A training that is done once and to its end: one that was cut off goes on."""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from sarlp.datasets.nesting import annotation_paths, digest_of_images, leaves, name_files
from sarlp.engine import build_runner, read_checkpoint
from sarlp.engine.beginnings import beginnings_of_parts
from sarlp.engine.config.changes import config_values
from sarlp.engine.config.custom import LOADERS
from sarlp.engine.records.provenance import images_seen, seen_labels
from sarlp.engine.terminal import brief
from sarlp.engine.testing import loader_for_testing, pipeline_for_testing
from sarlp.errors import UserError
from sarlp.io.files import atomic_write, sha256_of_file
from sarlp.io.json_file import read_json
from sarlp.registry import DATASETS

FINISHED, STARTED = 'finished.json', 'started.json'
_FILES = ('.checkpoint', '.file', '.weights')  # ends of keys of a model whose values may be files


def train_to_the_end(cfg: Config, dataset: Mapping, images: str, work_dir: Path, name: str, more: str = '') -> Path:
    """Train on a data set without looking at another: the last epoch counts.

    Args:
        cfg, dataset: see :func:`~sarlp.apps.completion.folds.score_out_of_fold`.
        images: what they are, and more, of :func:`digest_of_inputs`.
        work_dir: if a training in there has ended it is not done again, and one that was cut off goes on.
        name: in front of each line on the terminal.
        more: to say when it starts.

    Returns:
        The checkpoint.
    """
    train_cfg = _training(cfg, dataset)
    checkpoint = _finished(train_cfg, images, work_dir)
    if checkpoint is not None:
        print(f'{name}: trained before, {checkpoint}', flush=True)
        return checkpoint
    print(f'{name}: training in {work_dir}{more}', flush=True)
    train_cfg.work_dir = str(work_dir)
    with brief(name):
        runner = build_runner(train_cfg)
        runner.train()
    checkpoint = work_dir / Path(runner.message_hub.get_info('last_ckpt')).name
    _finish(work_dir, checkpoint.name)
    return checkpoint


def _training(cfg: Config, dataset: Mapping) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.train_dataloader.dataset = dataset
    cfg.test_pipeline = copy.deepcopy(pipeline_for_testing(cfg))  # by which the model is used
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator'):
        cfg[name] = None
    cfg.train_cfg.pop('val_interval', None)
    if cfg.default_hooks.get('checkpoint') is None:
        raise UserError('default_hooks.checkpoint is None, but the models of the folds have to be saved; leave it out')
    cfg.default_hooks.checkpoint.save_best = None
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1  # of twenty folds the second ones would take 0.7 GB
    cfg.work_dir = None
    cfg.resume = 'auto'  # without a checkpoint it starts anew
    return cfg


def require_unseen_weights(cfg: Config, dataset: Mapping) -> None:
    """See that models of folds do not begin with what has seen the labels that they are to be held out from.

    Raises:
        UserError: ``load_from`` of the config, or a checkpoint of sarlp that a part of it begins with, was trained on
            some of the images of ``dataset``.
    """
    begun = beginnings_of_parts(cfg)
    if isinstance(file := cfg.get('load_from'), str):
        begun['load_from'] = file, read_checkpoint(file)
    if not begun:
        return
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    images = DATASETS.build(loader_for_testing(cfg, dataset).dataset)
    for key, (file, checkpoint) in begun.items():
        meta = checkpoint.get('meta')
        if seen := images_seen(meta if isinstance(meta, Mapping) else {}, images):
            raise UserError(
                f'{key}={file}: was trained on {len(seen):,} of the {len(images):,} images of {name_files(dataset)}, '
                'so that no fold would be without the labels by which its model is judged; leave it out, or begin with '
                'the weights of a model of other images'
            )


def digest_of_inputs(cfg: Config, dataset: Mapping) -> str:
    """In hexadecimal digits, of what models are trained on and begin with that neither a config nor annotation files
    say: images, labels that a mask shows, which may be a file, and files of weights and label embeddings.

    Args:
        cfg, dataset: see :func:`~sarlp.apps.completion.folds.score_out_of_fold`.
    """
    parts = [digest_of_images(dataset)]
    if any(leaf.get('label_mask') is not None for leaf in leaves(dataset)):
        init_default_scope(cfg.get('default_scope', 'sarlp'))
        parts.append(seen_labels(DATASETS.build(loader_for_testing(cfg, dataset).dataset)))
    for key, file in sorted(config_values(cfg).items()):
        names_file = key == 'load_from' or (key.startswith('model.') and key.endswith(_FILES))
        if names_file and isinstance(file, str) and Path(file).expanduser().is_file():
            parts.append(sha256_of_file(Path(file).expanduser()))
    return parts[0] if len(parts) == 1 else hashlib.sha256(' '.join(parts).encode()).hexdigest()


def digest_of_settings(cfg: Config) -> str:
    """In hexadecimal digits, of a config but for where data, kept tokens and results lie: of a folder that was moved it
    is the same. What lies in those places is to be looked at beside it."""
    cfg = copy.deepcopy(cfg)
    for name in LOADERS:
        for leaf in leaves(cfg[name].dataset) if cfg.get(name) else ():
            for place in ('data_root', 'ann_file', 'data_prefix'):
                leaf.pop(place, None)
    values = cfg.to_dict()
    values['tokens'] = {**(values.get('tokens') or {}), 'dir': None}
    for place in ('data_root', 'work_dir'):
        values.pop(place, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _fingerprint(cfg: Config, images: str) -> str:
    """Of what the weights depend on, wherever it lies."""
    digest = hashlib.sha256(digest_of_settings(cfg).encode())
    for file in annotation_paths(cfg.train_dataloader.dataset):
        digest.update(file.read_bytes())
    digest.update(images.encode())
    return digest.hexdigest()


def _finished(cfg: Config, images: str, work_dir: Path) -> Path | None:
    """The checkpoint of a training that has ended; None if there is none, or it was cut off."""
    mark, started, fingerprint = work_dir / FINISHED, work_dir / STARTED, _fingerprint(cfg, images)
    if started.is_file() and read_json(started) != fingerprint:
        raise UserError(
            f'{work_dir}: this was trained with another config, on other labels or images, from other weights, or '
            f'by an earlier version of sarlp. Remove {work_dir.parent}, or choose another --out'
        )
    _write(started, fingerprint)
    return work_dir / read_json(mark) if mark.is_file() else None


def _finish(work_dir: Path, checkpoint: str) -> None:
    _write(work_dir / FINISHED, checkpoint)


def _write(path: Path, content: str) -> None:
    with atomic_write(path) as file:
        json.dump(content, file)
