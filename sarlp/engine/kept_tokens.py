"""Tokens of a frozen backbone, computed once and kept on disk: training a head then takes seconds.

An entry is the feature map of one variant of one image. Its folder is named by all that decides what the backbone makes
of pixels: weights, architecture, normalisation, the steps of the pipeline; the entry by the content of the image file
and the number of the variant. Labels, label mask, method, split and folds are no part of it, so all of them share it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader

from sarlp.engine.terminal import is_brief, say
from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError, UserValueError, shorten
from sarlp.io.files import atomic_write, content_digest
from sarlp.io.token_store import TokenStore, as_kept, read_record
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.frozen import Frozen
from sarlp.models.network import CHANNELS
from sarlp.models.normalization import asks_backbone, normalization_in
from sarlp.transforms import BadImageError
from sarlp.transforms.kept_tokens import KeptTokens
from sarlp.transforms.single_views import SingleView, single_views

OF_WEIGHTS = {'init_cfg', 'weights', 'checkpoint_path', 'pretrained'}  # say where they come from, not what they are
_BLOCK = 64 << 20  # bytes, and at most
_BLOCK_ENTRIES = 256  # entries: what a run that is killed has to compute again
_BATCH = 32
_PATIENCE = 10  # seconds between two lines of progress


@dataclass(frozen=True)
class TokenOptions:
    """The ``tokens`` of a config.

    Attributes:
        dir: folder of all kept tokens; one serves any number of data sets, models and runs.
        views: variants of each image that a pipeline with random steps makes; an epoch takes one of them.
        max_gb: bound of all that is in ``dir``, in 1e9 bytes. At it a run stops: nothing is deleted by itself.
        dtype: ``'float32'``, or ``'float16'`` for half the room.
    """

    dir: str
    views: int = 4
    max_gb: float = 20.0
    dtype: str = 'float32'

    def __post_init__(self):
        if type(self.views) is not int or self.views < 1:
            raise UserValueError(f'tokens.views must be a whole number of at least 1, got {self.views!r}')
        if self.dtype not in ('float32', 'float16'):
            raise UserValueError(f"tokens.dtype must be 'float32' or 'float16', got {self.dtype!r}")
        if not isinstance(self.max_gb, int | float) or not self.max_gb > 0:
            raise UserValueError(f'tokens.max_gb must be a positive number, got {self.max_gb!r}')
        if not isinstance(self.dir, str | os.PathLike):
            raise UserValueError(f'tokens.dir must be a folder, got {self.dir!r}')


@dataclass(frozen=True)
class _Images(torch.utils.data.Dataset):
    """Images to go through the backbone.

    Attributes:
        leaf: their data set.
        run: the pipeline, of :meth:`~sarlp.transforms.single_views.SingleView.build`.
        jobs: name of the entry, place of the image in the data set, key of its random numbers.
    """

    leaf: Any
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


class TokenKeeper:
    """Computes and finds the kept tokens of a model.

    Args:
        model: :class:`~sarlp.models.MultiLabelClassifier` with ``frozen_backbone``, with its weights.
        model_cfg: its config.
        options: see :class:`TokenOptions`.
        tell: what is done with a line of progress.
    """

    def __init__(
        self,
        model: MultiLabelClassifier,
        model_cfg: Mapping,
        options: TokenOptions,
        tell: Callable[[str], None] = print,
    ):
        if not isinstance(model.backbone, Frozen):
            raise UserError(
                'tokens: those of a backbone that is trained change with every step and can not be kept; set '
                'model.frozen_backbone=True, or leave tokens out'
            )
        self.model, self.options, self.tell = model, options, tell
        self._root = Path(options.dir)
        preprocessor = model_cfg.get('data_preprocessor')
        if asks_backbone(preprocessor):
            preprocessor = {**preprocessor, **normalization_in(model.data_preprocessor)._asdict()}
        self._facts = {
            'backbone': {key: value for key, value in model_cfg['backbone'].items() if key not in OF_WEIGHTS},
            'data_preprocessor': preprocessor,
            'dtype': options.dtype,
            'weights': _digest_of_weights(model.backbone),
        }
        self._contents: dict[Path, str] = {}

    def keep(self, loader: DataLoader) -> None:
        """Let a loader give kept tokens, which are computed now as far as they are not there yet."""
        for leaf in getattr(loader.dataset, 'leaves', [loader.dataset]):
            leaf.full_init()
            rows: list[dict] = [{} for _ in range(len(leaf))]
            for name, view in single_views(leaf.steps).items():
                for row, variants in zip(rows, self._variants(leaf, view, loader.num_workers), strict=True):
                    row[name] = variants
            leaf.pipeline = KeptTokens(rows)
        loader.num_workers = 0  # to slice takes less than to send

    def _variants(self, leaf, view: SingleView, workers: int) -> list[list[torch.Tensor] | str]:
        """For each image of a data set its feature maps, or why it has none."""
        steps = [{key: value for key, value in step.items() if key != 'cache_dir'} for step in view.steps]
        text = json.dumps({**self._facts, 'pipeline': steps}, sort_keys=True, default=str, indent=1)
        store = TokenStore(self._root / _digest(text)[:16])
        random_steps = view.draws(map(leaf.get_data_info, range(len(leaf))))
        numbers = range(self.options.views) if random_steps else [0]
        keys = [
            [(leaf.seed if random_steps else 0, number, self._content(leaf.image_path(place))) for number in numbers]
            for place in range(len(leaf))
        ]
        names = [[_digest(repr((*key, view.twin if random_steps else 0))) for key in of_image] for of_image in keys]
        jobs = {
            name: (name, place, key)
            for place, of_image in enumerate(keys)
            for name, key in zip(names[place], of_image, strict=True)
        }
        found = store.find(jobs)
        if store.damaged:
            self.tell(
                f'tokens: {len(store.damaged)} files did not agree with their checksums and were removed '
                f'({shorten(store.damaged)}); what was in them is computed anew'
            )
        missing, failed = [job for name, job in jobs.items() if name not in found], {}
        if missing or not is_brief():  # fold after fold it goes without saying
            self.tell(f'tokens: {len(found):,} of {len(jobs):,} are in {store.folder}')
        if missing:
            with atomic_write(store.folder / 'made_of.json') as stream:
                stream.write(text)
            images = _Images(leaf, view.build(), missing[get_rank() :: get_world_size()])
            failed = self._compute(images, store, min(workers, os.cpu_count() or 1))
        barrier()
        found |= store.find([name for name in jobs if name not in found])
        rows = []
        for of_image in names:
            absent = [name for name in of_image if name not in found]
            reason = failed.get(absent[0], 'the image can not be read') if absent else None
            rows.append(reason or [torch.from_numpy(found[name]) for name in of_image])
        return rows

    def _content(self, path: Path) -> str:
        if path not in self._contents:
            self._contents[path] = content_digest(path)
        return self._contents[path]

    def _compute(self, images: _Images, store: TokenStore, workers: int) -> dict[str, str]:
        """Compute what is missing; returns why some could not be."""
        loader = DataLoader(images, _BATCH, num_workers=workers, collate_fn=list)
        failed: dict[str, str] = {}
        block: dict[str, np.ndarray] = {}
        inputs: dict[str, str] = {}
        made: dict[str, np.ndarray] = {}  # of an input, in this block
        elsewhere = self._places()
        computed, done, started = 0, 0, time.monotonic()
        spoke = started
        for batch in loader:
            good = {name: image for name, image in batch if isinstance(image, torch.Tensor)}
            failed |= {name: reason for name, reason in batch if name not in good}
            inputs |= {name: _digest_of_image(image) for name, image in good.items()}
            wanted = {inputs[name]: image for name, image in good.items() if inputs[name] not in made}
            for of_image in elsewhere.keys() & wanted.keys():
                values = read_record(*elsewhere[of_image])
                if values is not None:
                    made[of_image] = values
                    del wanted[of_image]
            made |= zip(wanted, self._maps([*wanted.values()]), strict=True)
            block |= {name: made[inputs[name]] for name in good}
            computed += len(wanted)
            done += len(batch)
            if len(block) >= _BLOCK_ENTRIES or _size(block) >= _BLOCK:
                self._write(store, block, inputs)
                block, inputs, made = {}, {}, {}
            now = time.monotonic()
            if now - spoke > _PATIENCE:
                spoke, left = now, timedelta(seconds=round((now - started) / done * (len(images) - done)))
                self.tell(f'tokens: {done:,} of {len(images):,} computed, {left} left')
        if block:
            self._write(store, block, inputs)
        taken = time.monotonic() - started
        same = done - len(failed) - computed
        more = f'; {same:,} more are of the same pixels as others' if same else ''
        self.tell(
            f'tokens: {computed:,} computed in {timedelta(seconds=round(taken))}, {done / taken:.1f} a second{more}'
        )
        return failed

    def _places(self) -> dict[str, tuple[Path, int]]:
        """Where the tokens of an image lie, as it comes out of any pipeline, by :func:`_digest_of_image`.

        An image that is not flipped in training is the one that is evaluated, and of two views every second is so.
        """
        places: dict[str, tuple[Path, int]] = {}
        facts = json.loads(json.dumps(self._facts, default=str))
        for file in sorted(self._root.glob('*/made_of.json')):
            with contextlib.suppress(OSError, ValueError):
                made_of = json.loads(file.read_text())
                if made_of.pop('pipeline', None) is not None and made_of == facts:
                    places |= TokenStore(file.parent).inputs()
        return places

    @torch.no_grad()
    def _maps(self, images: list[torch.Tensor]) -> Iterator[np.ndarray]:
        """(D, H, W) of each image (3, h, w)."""
        sizes = {tuple(image.shape) for image in images}
        if len(sizes) > 1:
            raise UserError(
                f'tokens: the images come out of the pipeline in different sizes, {shorten(sorted(sizes))}; kept '
                'tokens need one size, as Resize with a scale of two sides gives it'
            )
        if images:
            inputs = self.model.data_preprocessor({'inputs': images})['inputs']
            tokens, grid = self.model.network.backbone_tokens(inputs)
            if tokens.shape[1] != grid[0] * grid[1] or tokens.shape[2] == CHANNELS:
                raise UserError(
                    f'tokens: {type(self.model.backbone).__name__} gives no feature map (D, H, W) with D other than '
                    f'{CHANNELS}, so its tokens can not be kept; leave tokens out'
                )
            maps = tokens.transpose(1, 2).unflatten(2, grid).cpu().numpy()
            yield from as_kept(maps, self.options.dtype, type(self.model.backbone).__name__)

    def _write(self, store: TokenStore, block: dict[str, np.ndarray], inputs: Mapping[str, str]) -> None:
        there, more = sum(file.stat().st_size for file in self._root.glob('*/*.npy')), _size(block)
        if there + more > self.options.max_gb * 1e9:
            raise UserError(
                f'tokens: {self._root} holds {there / 1e9:,.3f} GB, and {more / 1e9:,.3f} GB more would pass '
                f'tokens.max_gb = {self.options.max_gb:g}. Raise it, or remove folders there that are not needed any '
                'more (made_of.json in each says what it is of); tokens.dtype=float16 and fewer tokens.views take less'
            )
        if more > shutil.disk_usage(store.folder).free:
            raise UserError(
                f'tokens: the disk of {self._root} has no room for {more / 1e9:,.3f} GB more. Make room, then start '
                'again, or keep them elsewhere by tokens.dir'
            )
        store.write(block, inputs)


def _size(block: Mapping[str, np.ndarray]) -> int:
    return sum(values.nbytes for values in block.values())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_image(image: torch.Tensor) -> str:
    """Of (3, h, w) uint8."""
    digest = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    digest.update(image.contiguous().numpy().data)
    return digest.hexdigest()


def _digest_of_weights(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def keep_tokens(
    model: MultiLabelClassifier, cfg: Mapping, loaders: Sequence[DataLoader], tell: Callable[[str], None]
) -> None:
    """Where a config has ``tokens``, let these loaders give kept tokens; those that do already stay as they are.

    Args:
        model: see :class:`TokenKeeper`.
        cfg: whole config of the model.
        loaders: in place.
        tell: what is done with a line of progress.
    """
    waiting = [loader for loader in loaders if not _keeps(loader)]
    if cfg.get('tokens') is not None and waiting:
        keeper = TokenKeeper(model, cfg['model'], TokenOptions(**cfg['tokens']), tell)
        for loader in waiting:
            keeper.keep(loader)


def _keeps(loader: DataLoader) -> bool:
    leaves = getattr(loader.dataset, 'leaves', [loader.dataset])
    return all(isinstance(leaf.pipeline, KeptTokens) for leaf in leaves)


class KeptTokensHook(Hook):
    """Part of every run whose config has ``tokens``; the Runner adds it."""

    priority = 'VERY_HIGH'  # before SIGTERM is listened to, which would wait for the first step

    def before_train(self, runner) -> None:
        loaders = [runner.train_dataloader, *([] if runner.val_loop is None else [runner.val_dataloader])]
        self._keep(runner, loaders)

    def before_val(self, runner) -> None:
        self._keep(runner, [runner.val_dataloader])

    def before_test(self, runner) -> None:
        self._keep(runner, [runner.test_dataloader])

    @staticmethod
    def _keep(runner, loaders: Sequence[DataLoader]) -> None:
        keep_tokens(unwrap(runner.model), runner.cfg, loaders, partial(say, runner.logger))
