"""Out-of-fold scores: every image is scored by a model that was trained without it."""

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config

from sarlp.apps.completion.scoring import Scored, score, stack
from sarlp.datasets.nesting import annotation_paths, digest_of_images, leaves, with_options
from sarlp.engine import build_runner
from sarlp.engine.custom import LOADERS
from sarlp.engine.terminal import brief
from sarlp.engine.testing import loader_for_testing, pipeline_for_testing
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json

FINISHED = 'finished.json'


def score_out_of_fold(
    cfg: Config,
    dataset: Mapping,
    number: int,
    folder: str | Path,
    device: str | torch.device,
    seed: int = 0,
    whole_after: bool = False,
) -> tuple[Scored, list[Path]]:
    """Train a model for each fold of the images, without that fold, and score the fold by it.

    No epoch is selected, since that would look at the fold: the last one counts. What is trained already in ``folder``
    with the same config, labels and images is not trained again, and a training that was cut off goes on.

    Args:
        cfg: of :func:`~sarlp.engine.load_config`; not changed.
        dataset: config of the data set.
        number: of folds, at least 2.
        folder: for the work directories ``fold0``, ``fold1``, ...
        device: of :func:`~sarlp.engine.devices.choose_device`, for scoring; MMEngine chooses for training.
        seed: of the folds.
        whole_after: whether a model of all images is trained afterwards, for the time that is said to be left.

    Returns:
        The scores, fold by fold, and the checkpoint of each fold.
    """
    folder = Path(folder)
    parts, checkpoints = [], []
    taken: list[float] = []
    images = digest_of_images(dataset)
    for index in range(number):
        fold, name = dict(index=index, number=number, seed=seed), f'fold {index + 1} of {number}'
        rest = with_options(dataset, fold=dict(fold, part='rest'))
        work_dir = folder / f'fold{index}'
        left = _left(taken, index, number, whole_after, bool(cfg.get('tokens')))
        started, before = time.monotonic(), (work_dir / FINISHED).is_file()
        checkpoint = train_to_the_end(cfg, rest, images, work_dir, name, left)
        with brief(name):
            model = init_model(cfg.copy(), checkpoint, device)
            loader = loader_for_testing(cfg, with_options(dataset, fold=dict(fold, part='fold')))
            parts.append(score(model, loader, name))
        checkpoints.append(checkpoint)
        if not before:
            taken.append(time.monotonic() - started)
    return stack(parts), checkpoints


def _left(taken: Sequence[float], index: int, number: int, whole_after: bool, keeps_tokens: bool) -> str:
    """What to say of the time that is left before a fold, by the seconds that others took: by the last, since the first
    also make the tokens that are kept, so that nothing is known by the first alone."""
    if not taken or keeps_tokens and len(taken) == 1:
        return ''
    of_all = number / (number - 1) if whole_after else 0  # all images are so many times the rest of a fold
    models = number - index + of_all
    what = 'the folds and the model of all images' if whole_after else 'the folds'
    return f', {timedelta(seconds=round(taken[-1] * models))} left for {what}'


def train_to_the_end(cfg: Config, dataset: Mapping, images: str, work_dir: Path, name: str, more: str = '') -> Path:
    """Train on a data set without looking at another: the last epoch counts.

    Args:
        cfg, dataset: see :func:`score_out_of_fold`.
        images: what they are, of :func:`~sarlp.datasets.nesting.digest_of_images`.
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
    cfg.work_dir = None
    cfg.resume = 'auto'  # without a checkpoint it starts anew
    return cfg


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
    mark, started, fingerprint = work_dir / FINISHED, work_dir / 'started.json', _fingerprint(cfg, images)
    if started.is_file() and read_json(started) != fingerprint:
        raise UserError(
            f'{work_dir}: this was trained with another config, on other labels or images, or by an earlier version of '
            f'sarlp. Remove {work_dir.parent}, or choose another --out'
        )
    _write(started, fingerprint)
    return work_dir / read_json(mark) if mark.is_file() else None


def _finish(work_dir: Path, checkpoint: str) -> None:
    _write(work_dir / FINISHED, checkpoint)


def _write(path: Path, content: str) -> None:
    with atomic_write(path) as file:
        json.dump(content, file)
