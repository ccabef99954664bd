"""Tokens of a frozen backbone, computed once and kept on disk: training a head then takes seconds.

An entry is the feature map of one variant of one image. Its folder is named by all that decides what the backbone makes
of pixels: weights, architecture, normalisation, the steps of the pipeline; the entry by the content of the image file
and the number of the variant. Labels, label mask, method, split and folds are no part of it, so all of them share it.
"""

import contextlib
import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader

from sarlp.engine.terminal import say
from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.token_store import TokenStore
from sarlp.models.frozen import Frozen
from sarlp.models.network import CHANNELS
from sarlp.models.normalization import asks_backbone, normalization_in
from sarlp.transforms import BadImageError
from sarlp.transforms.kept_tokens import KeptTokens
from sarlp.transforms.seeding import seeded

_OF_WEIGHTS = {'init_cfg', 'weights', 'checkpoint_path', 'pretrained'}  # say where they come from, not what they are
_BLOCK = 64 << 20  # bytes, and at most
_BLOCK_ENTRIES = 256  # entries: what a run that is killed has to compute again
_BATCH = 32


@dataclass(frozen=True)
class _View:
    """One view of a pipeline: the steps before ``Views``, its own, and how many views before it have the same."""

    shared: list[dict]
    own: list[dict]
    twin: int

    def build(self) -> Callable[[dict, tuple], torch.Tensor]:
        shared, own = Compose(self.shared), Compose(self.own)

        def run(info: dict, key: tuple) -> torch.Tensor:
            with seeded(*key):
                sample = shared({**info, 'seed_key': key})
                if not self.twin:
                    return own(sample)['inputs']
            with seeded(*key, self.twin):
                return own(sample)['inputs']

        return run

    def draws(self, leaf) -> bool:
        """Whether random numbers are drawn, tried on the first image of a data set that can be read."""
        steps = Compose([*self.shared, *self.own])
        for place in range(len(leaf)):
            with contextlib.suppress(BadImageError), seeded():
                before = _random_states()
                steps({**leaf.get_data_info(place), 'seed_key': ()})
                return _random_states() != before
        return False


def _views(steps: Sequence[Mapping]) -> dict[str | None, _View]:
    """By name; None is the name of the only view of a pipeline without ``Views``."""
    steps = [dict(step) for step in steps]
    if not steps or steps[-1].get('type') != 'Views':
        return {None: _View(steps, [], 0)}
    *shared, last = steps
    views: dict[str | None, _View] = {}
    for name, own in last.items():
        if name != 'type':
            own = [dict(step) for step in own]
            views[name] = _View(shared, own, sum(view.own == own for view in views.values()))
    return views


@dataclass(frozen=True)
class _Images(torch.utils.data.Dataset):
    """Images to go through the backbone.

    Attributes:
        leaf: their data set.
        run: the pipeline, see :meth:`_View.build`.
        jobs: name of the entry, place of the image in the data set, key of its random numbers.
    """

    leaf: object
    run: Callable
    jobs: Sequence[tuple[str, int, tuple]]

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor | str]:
        """Name of the entry, and (3, h, w) uint8, or why there is none."""
        name, place, key = self.jobs[index]
        try:
            return name, self.run(self.leaf.get_data_info(place), key)
        except BadImageError as error:
            return name, str(error)


def has_kept_tokens(loader: DataLoader) -> bool:
    """Whether :meth:`TokenKeeper.keep` was called for it."""
    leaves = getattr(loader.dataset, 'leaves', [loader.dataset])
    return all(isinstance(leaf.pipeline, KeptTokens) for leaf in leaves)


class TokenKeeper:
    """Computes and finds the kept tokens of a model.

    Args:
        model: :class:`~sarlp.models.MultiLabelClassifier` with ``frozen_backbone``, with its weights.
        model_cfg: its config.
        dir: folder of all kept tokens; one serves any number of data sets, models and runs.
        views: variants of each image that a pipeline with random steps makes; an epoch takes one of them.
        max_gb: bound of all that is in ``dir``, in 1e9 bytes. At it the run stops: nothing is deleted by itself.
        dtype: ``'float32'``, or ``'float16'`` for half the room.
        tell: what is done with a line of progress.
    """

    def __init__(
        self,
        model: nn.Module,
        model_cfg: Mapping,
        dir: str,
        views: int = 4,
        max_gb: float = 20.0,
        dtype: str = 'float32',
        tell: Callable[[str], None] = print,
    ):
        if not isinstance(model.backbone, Frozen):
            raise UserError(
                'tokens: those of a backbone that is trained change with every step and can not be kept; set '
                'model.frozen_backbone=True, or tokens=None'
            )
        if type(views) is not int or views < 1:
            raise UserError(f'tokens.views must be a whole number of at least 1, got {views!r}')
        if dtype not in ('float32', 'float16'):
            raise UserError(f"tokens.dtype must be 'float32' or 'float16', got {dtype!r}")
        self.model, self.root, self.views, self.max_gb, self.dtype, self.tell = (
            model,
            Path(dir),
            views,
            max_gb,
            dtype,
            tell,
        )
        backbone = {key: value for key, value in model_cfg['backbone'].items() if key not in _OF_WEIGHTS}
        preprocessor = model_cfg.get('data_preprocessor')
        if asks_backbone(preprocessor):
            preprocessor = {**preprocessor, **normalization_in(model.data_preprocessor)._asdict()}
        self._facts = {
            'backbone': backbone,
            'data_preprocessor': preprocessor,
            'dtype': dtype,
            'weights': _digest_of_weights(model.backbone),
        }
        self._contents: dict[Path, str] = {}

    def keep(self, loader: DataLoader) -> None:
        """Let a loader give kept tokens, which are computed now as far as they are not there yet."""
        leaves = getattr(loader.dataset, 'leaves', [loader.dataset])
        for leaf in leaves:
            leaf.full_init()
            rows = [{} for _ in range(len(leaf))]
            for name, view in _views(leaf.steps).items():
                for row, variants in zip(rows, self._variants(leaf, view, loader.num_workers), strict=True):
                    row[name] = variants
            leaf.pipeline = KeptTokens(rows)
        loader.num_workers = 0  # to slice takes less than to send

    def _variants(self, leaf, view: _View, workers: int) -> list:
        """For each image of a data set its feature maps, or why it has none."""
        random_steps = view.draws(leaf)
        facts = {**self._facts, 'pipeline': _without_places([*view.shared, *view.own])}
        text = json.dumps(facts, sort_keys=True, default=str, indent=1)
        store = TokenStore(self.root / hashlib.blake2b(text.encode(), digest_size=8).hexdigest())
        entries, jobs = [], []
        for place in range(len(leaf)):
            content = self._content(leaf.image_path(place))
            keys = [(leaf.seed, number, content) for number in range(self.views)] if random_steps else [(content,)]
            names = [_digest(repr((*key, view.twin) if random_steps else key)) for key in keys]
            entries.append(names)
            jobs += [(name, place, key) for name, key in zip(names, keys, strict=True)]
        unique = {job[0]: job for job in jobs}
        found = store.find(unique)
        missing = [job for name, job in unique.items() if name not in found]
        if store.damaged:
            self.tell(
                f'tokens: {len(store.damaged)} files did not agree with their checksums and were removed '
                f'({shorten(store.damaged)}); what was in them is computed anew'
            )
        failed = {}
        self.tell(f'tokens: {len(found):,} of {len(unique):,} are in {store.folder}')
        if missing:
            store.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(store.folder / 'made_of.json') as stream:
                stream.write(text)
            images = _Images(leaf, view.build(), missing[get_rank() :: get_world_size()])
            failed = self._compute(images, store, workers)
        barrier()
        found |= store.find({name for name in unique if name not in found})
        rows = []
        for names in entries:
            absent = [name for name in names if name not in found]
            reason = failed.get(absent[0], 'the image can not be read') if absent else None
            rows.append(reason or [torch.from_numpy(found[name]) for name in names])
        return rows

    def _compute(self, images: _Images, store: TokenStore, workers: int) -> dict[str, str]:
        """Compute what is missing; returns why some could not be."""
        loader = DataLoader(images, _BATCH, num_workers=workers, collate_fn=list)
        failed, block, started, done, spoke = {}, {}, time.monotonic(), 0, time.monotonic()
        for batch in loader:
            good = [(name, image) for name, image in batch if isinstance(image, torch.Tensor)]
            failed |= {name: reason for name, reason in batch if not isinstance(reason, torch.Tensor)}
            for (name, _), values in zip(good, self._maps([image for _, image in good]), strict=True):
                block[name] = values
            done += len(batch)
            size = sum(values.nbytes for values in block.values())
            if size >= _BLOCK or len(block) >= _BLOCK_ENTRIES:
                self._write(store, block)
                block = {}
            if time.monotonic() - spoke > 10:
                spoke = time.monotonic()
                left = timedelta(seconds=round((spoke - started) / done * (len(images) - done)))
                self.tell(f'tokens: {done:,} of {len(images):,} computed, {left} left')
        if block:
            self._write(store, block)
        taken = time.monotonic() - started
        self.tell(f'tokens: {done:,} computed in {timedelta(seconds=round(taken))}, {done / taken:.1f} a second')
        return failed

    @torch.no_grad()
    def _maps(self, images: list[torch.Tensor]) -> Iterator[np.ndarray]:
        sizes = {tuple(image.shape) for image in images}
        if len(sizes) > 1:
            raise UserError(
                f'tokens: the images come out of the pipeline in different sizes, {shorten(sorted(sizes))}; kept '
                'tokens need one size, as Resize with a scale of two sides gives it'
            )
        if images:
            inputs = self.model.data_preprocessor({'inputs': images})['inputs']
            tokens, grid = self.model.network.extract_tokens(inputs)
            if tokens.shape[1] != grid[0] * grid[1] or tokens.shape[2] == CHANNELS:
                raise UserError(
                    f'tokens: {type(self.model.backbone).__name__} gives no feature map (D, H, W) of more than '
                    f'{CHANNELS} channels, so its tokens can not be kept; set tokens=None'
                )
            yield from tokens.transpose(1, 2).unflatten(2, grid).cpu().numpy().astype(self.dtype)

    def _write(self, store: TokenStore, block: dict[str, np.ndarray]) -> None:
        store.folder.mkdir(parents=True, exist_ok=True)
        there = sum(file.stat().st_size for file in self.root.glob('*/*.npy'))
        more = sum(values.nbytes for values in block.values())
        if there + more > self.max_gb * 1e9:
            raise UserError(
                f'tokens: {self.root} holds {there / 1e9:,.2f} GB, and {more / 1e9:,.2f} GB more would pass '
                f'tokens.max_gb = {self.max_gb:g}. Raise it, or remove folders there that are not needed any more '
                '(made_of.json in each says what it is of); tokens.dtype=float16 and fewer tokens.views take less'
            )
        if more > shutil.disk_usage(store.folder).free:
            raise UserError(f'tokens: the disk of {self.root} has no room for {more / 1e9:,.2f} GB more')
        store.write(block)

    def _content(self, path: Path) -> str:
        if path not in self._contents:
            self._contents[path] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        return self._contents[path]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_weights(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _without_places(steps: Sequence[Mapping]) -> list[dict]:
    return [{key: value for key, value in step.items() if key != 'cache_dir'} for step in steps]


def _random_states() -> tuple:
    _, words, place, *_ = np.random.get_state()
    return random.getstate(), words.tobytes(), place, torch.get_rng_state().numpy().tobytes()


class KeptTokensHook(Hook):
    """Part of every run whose config has ``tokens``; the Runner adds it.

    Args:
        **options: of :class:`TokenKeeper`.
    """

    priority = 'VERY_HIGH'  # before SIGTERM is listened to, which would wait for the first step

    def __init__(self, **options):
        self.options = options

    def before_train(self, runner) -> None:
        self._keep(runner, runner.train_dataloader)
        if runner.val_loop is not None:
            self._keep(runner, runner.val_dataloader)

    def before_val(self, runner) -> None:
        self._keep(runner, runner.val_dataloader)

    def before_test(self, runner) -> None:
        self._keep(runner, runner.test_dataloader)

    def _keep(self, runner, loader: DataLoader) -> None:
        model = unwrap(runner.model)
        if not has_kept_tokens(loader):
            TokenKeeper(model, runner.cfg.model, **self.options, tell=partial(say, runner.logger)).keep(loader)
