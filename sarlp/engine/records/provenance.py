"""What a checkpoint was trained on, by what it says of itself, and which one it is.

A model is measured, and its scores are calibrated, on what it has not seen. Data are converted anew and configs are
edited between a training and a test, so what the present config calls test images or hidden labels may be what the
model was trained on.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from os import PathLike
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object

from sarlp.engine.config.changes import bears_on_training, config_values
from sarlp.errors import UserError
from sarlp.io.json_file import show

TRAINED_ON = 'trained_on'  # key of the meta
LABELS = 'labels'  # likewise
EARLIER_MASKS = 'earlier_masks'  # likewise
_NESTED = ('RandomKnownLabels', 'HCPKnownLabels')  # masks of which what is known at 0.1 is known at 0.2


class Origin(NamedTuple):
    """Which model a checkpoint holds; both are '' where it does not say.

    Attributes:
        model: run, epoch and iteration, the same for each copy of the file.
        kind: digest of the part of its config that describes the model, the same for the models of its folds.
    """

    model: str = ''
    kind: str = ''


def origin_of(meta: Mapping) -> Origin:
    """Args: ``meta`` of a checkpoint."""
    words = [f'{name} {meta[name]}' for name in ('run', 'epoch', 'iter', 'refitted_from') if meta.get(name) is not None]
    kind = _digest({key: value for key, value in trained_values(meta).items() if key.startswith('model.')})
    return Origin(', '.join(words) if meta.get('run') else '', kind)


def training_of(meta: Mapping) -> dict[str, Any] | None:
    """How a model was trained, the same for the runs of a sweep over seeds; None, where its checkpoint does not say.

    Args:
        meta: of the checkpoint.

    Returns:
        ``epochs`` asked for, and the ``digest`` of all of its config that bears on the training, but for seeds and
        places of files.
    """
    values = trained_values(meta)
    alike = {key: value for key, value in values.items() if bears_on_training(key) and not key.endswith('.seed')}
    if values.get('load_from') is not None:  # None is left out, as by versions that did not look at it
        alike['load_from'] = values['load_from']
    return {'epochs': values.get('train_cfg.max_epochs'), 'digest': _digest(alike)} if values else None


def trained_images(dataset: Any) -> torch.Tensor:
    """Keys of the images of a data set, for the meta of a checkpoint: (N,) int64, rising, once each."""
    return torch.tensor(sorted(set(_keys(dataset))), dtype=torch.int64)


def seen_before(dataset: Any, *metas: Mapping) -> dict[str, Any]:
    """What the weights of a training will have seen, for the meta of its checkpoints.

    Args:
        dataset: that it trains on.
        metas: of the checkpoints that it goes on from or begins with.

    Returns:
        By :data:`TRAINED_ON` the keys of the images of all, as :func:`trained_images` has them; by
        :data:`EARLIER_MASKS` the label masks that images of ``dataset`` were seen under before, each once.
    """
    images = seen = trained_images(dataset)
    masks: list[list[dict[str, Any]]] = []
    for meta in metas:
        before = meta.get(TRAINED_ON)
        if not isinstance(before, torch.Tensor):
            continue
        values = trained_values(meta)
        earlier = _earlier(meta)
        if any(key.startswith('train_dataloader.') for key in values) and torch.isin(images, before).any():
            earlier.append(_masks(values))
        masks += [found for place, found in enumerate(earlier) if found not in [*masks, *earlier[:place]]]
        seen = torch.cat([seen, before]).unique()
    return {TRAINED_ON: seen, EARLIER_MASKS: masks}


def seen_labels(dataset: Any) -> str:
    """Digest of the labels that a data set shows, image by image; the same in every process and after every resume."""
    digest = hashlib.blake2b(digest_size=16)
    for index in range(len(dataset)):
        image, observed, *_ = dataset.get_labels(index)
        digest.update(image.encode() + b'\0' + observed.tobytes())
    return digest.hexdigest()


def contents_of(dataset: Any) -> str:
    """Digest of images and labels of a data set, by name: the same in another order of either, in any folder."""
    order = np.argsort(dataset.classes)
    lines = [' '.join(sorted(dataset.classes)).encode()]
    for index in range(len(dataset)):
        image, observed, _, ignored = dataset.get_labels(index)
        lines.append(image.encode() + b'\0' + observed[order].tobytes() + ignored[order].tobytes())
    return hashlib.blake2b(b'\n'.join(sorted(lines)), digest_size=8).hexdigest()


def images_of_training(meta: Mapping) -> str | None:
    """Number and digest of the images that a checkpoint was trained on; None where it does not say."""
    seen = meta.get(TRAINED_ON)
    if not isinstance(seen, torch.Tensor):
        return None
    return f'{len(seen):,} images, {hashlib.blake2b(seen.numpy().tobytes(), digest_size=8).hexdigest()}'


def require_same_labels(labels: str) -> None:
    """Args: ``labels`` of :func:`seen_labels`, of this process.

    Raises:
        UserError: processes see other labels of the same images.
    """
    if len(set(all_gather_object(labels))) > 1:
        raise UserError(
            'the processes of this run see different labels of the training images, so that more is seen than the '
            'label mask (train_dataloader.dataset.label_mask) says: it must draw the same in every process, as '
            'SeededMask.uniform(image_id) does, and hash() and unseeded random numbers do not'
        )


def images_seen(meta: Mapping, dataset: Any) -> list[int]:
    """Places of the images of a data set that a checkpoint was trained on; none, where it does not say.

    An image is known by its path below the image root and by the size of its file.

    Args:
        meta: of the checkpoint.
        dataset: built, of any of the types of :mod:`sarlp.datasets`.
    """
    seen = meta.get(TRAINED_ON)
    known = set(seen.tolist()) if isinstance(seen, torch.Tensor) else set()
    return [place for place, key in enumerate(_keys(dataset)) if key in known] if known else []


def mask_changes(meta: Mapping, cfg: Config) -> list[str]:
    """``known_ratio 0.9 -> 0.1`` of everything that a config says otherwise of its label masks than that of a training.

    Args:
        meta: of the checkpoint.
        cfg: the present config.

    Returns:
        Nothing, where the present config hides nothing, or the checkpoint does not say how it was trained.
    """
    values = trained_values(meta)
    old, new = _masks(values), _masks(config_values(cfg))
    if not values or not new or not any(key.startswith('train_dataloader.') for key in values):
        return []
    return _differences(old, new)


def _differences(old: Sequence[Mapping], new: Sequence[Mapping]) -> list[str]:
    if not old:
        return ['none -> one']
    if len(old) != len(new):
        return [f'of {len(old)} data sets -> of {len(new)}']
    return [
        f'{name} {show(before[name])} -> {show(now[name])}'
        for before, now in zip(old, new, strict=True)
        for name in before
        if name in now and _portable(before[name]) != _portable(now[name])
    ]


def revealed(meta: Mapping, cfg: Config) -> str:
    """How the label masks that weights were trained under before the last one differ from that of a config.

    Args:
        meta: of the checkpoint, or what :func:`seen_before` gives.
        cfg: the present config.

    Returns:
        ``''`` where they showed nothing that is hidden now, or the config hides nothing; else what they had otherwise,
        ``known_ratio 0.9 -> 0.1``.
    """
    new = _masks(config_values(cfg))
    found = [_differences(old, new) for old in _earlier(meta) if new and not _are_parts(old, new)]
    return ', '.join(dict.fromkeys('; '.join(changes) for changes in found if changes))


def _earlier(meta: Mapping) -> list[list[dict[str, Any]]]:
    found = meta.get(EARLIER_MASKS)
    whole = isinstance(found, list) and all(
        isinstance(masks, list) and all(isinstance(mask, dict) for mask in masks) for masks in found
    )
    return list(found) if found is not None and whole else []


def _are_parts(old: Sequence[Mapping], new: Sequence[Mapping]) -> bool:
    """Whether the older masks show only what the newer ones do."""

    def is_part(mask: Mapping, of: Mapping) -> bool:
        less = {**mask, 'known_ratio': of.get('known_ratio')}
        return (
            mask.get('type') in _NESTED and not _differences([less], [of]) and mask['known_ratio'] <= of['known_ratio']
        )

    return len(old) == len(new) and all(is_part(*pair) for pair in zip(old, new, strict=True))


def require_masks_of(meta: Mapping, cfg: Config, checkpoint: str | PathLike) -> None:
    """See that what a config hides was hidden in the training of a checkpoint; see :func:`mask_changes`.

    Raises:
        UserError: the label masks differ.
    """
    if changes := mask_changes(meta, cfg):
        raise UserError(
            f'{checkpoint}: was trained with another label mask than the config has ({"; ".join(changes)}), so that '
            'labels that count as hidden may be what it was trained on. Take the config that lies in its work '
            'directory, or the known ratio and the --cfg-options of its training'
        )


def require_hidden(meta: Mapping, cfg: Config, checkpoint: str | PathLike) -> None:
    """See that what a config hides was hidden in all of the trainings that weights come from; see :func:`revealed`.

    Raises:
        UserError: it was not, before the run was resumed, or in that whose weights it began with.
    """
    require_masks_of(meta, cfg, checkpoint)
    if change := revealed(meta, cfg):
        raise UserError(
            f'{checkpoint}: its weights were trained under another label mask before ({change}), so that labels that '
            'count as hidden may be what they were trained on; train anew, without --resume or load_from'
        )


def trained_values(meta: Mapping) -> dict[str, Any]:
    """The config of a training, see :func:`~sarlp.engine.config.changes.config_values`; {} if it is not there.

    Args:
        meta: of the checkpoint.
    """
    return config_values(meta['cfg']) if isinstance(meta.get('cfg'), str) else {}


def _masks(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of the label mask of each training data set, in order."""
    parts = [key.partition('.label_mask.') for key in values if key.startswith('train_dataloader.')]
    found = [part for part in parts if part[2]]
    return [
        {name: values[before + dot + name] for before, dot, name in group}
        for _, group in groupby(sorted(found), key=lambda part: part[0])
    ]


def _digest(values: Mapping[str, Any]) -> str:
    portable = {key: _portable(value) for key, value in values.items()}
    return hashlib.sha256(json.dumps(portable, sort_keys=True, default=str).encode()).hexdigest() if values else ''


def _portable(value: Any) -> Any:
    """A path may be another on the next machine, but for its end."""
    return PurePosixPath(value.replace('\\', '/')).name if isinstance(value, str) else value


def _keys(dataset: Any) -> Iterator[int]:
    for index in range(len(dataset)):
        path = dataset.image_path(index)
        size = path.stat().st_size if path.is_file() else -1
        content = f'{dataset.image_id(index)}\0{size}'.encode()
        yield int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), 'big', signed=True)
