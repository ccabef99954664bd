"""What the models of the folds see in each image: computed once, kept beside the review.

Axis legend: ``K`` folds, ``N`` images, ``C`` classes, ``D`` width of the backbone's tokens.
"""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope

from sarlp.apps.completion import Record, record_path
from sarlp.apps.completion.complete import folds_dir
from sarlp.apps.completion.scoring import LabelledBatches
from sarlp.apps.completion.union import UNION
from sarlp.datasets.nesting import annotation_paths, whole, with_options
from sarlp.engine.kept_tokens import keep_tokens
from sarlp.engine.testing import loader_for_testing
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.io.files import atomic_write, sha256_of


@dataclass(frozen=True)
class FoldFeatures:
    """Of all images, by the model of each fold.

    Attributes:
        image_ids: (N,) of str.
        fold: (N,) int64, the fold that an image is in: the one model of K that was trained without it.
        observed: (N, C) int8 of 1 / 0 / -1, what the models were told, or held out.
        logits: (K, N, C) float32.
        features: (K, N, D) float32, the tokens of the backbone, their mean over the places.
    """

    image_ids: np.ndarray
    fold: np.ndarray
    observed: np.ndarray
    logits: np.ndarray
    features: np.ndarray


def features_path(csv_file: str | os.PathLike) -> Path:
    """The features kept for a ``recovered.csv``: ``recovered.review.features.npz``, which may be removed."""
    return record_path(csv_file).with_suffix('.review.features.npz')


def why_no_features(record: Record) -> str | None:
    """Why there are none, in one line; None where nothing is seen to be missing."""
    if record.folds is None:
        return 'the completion was not made in folds (sarlp recover --folds), so no image has a model that is new to it'
    missing = [path for path in record.checkpoints if not path.is_file()]
    if missing:
        return f'the models of the folds are not there: {missing[0]}'
    for path in (record.img_root, *record.annotations.values()):
        if not path.exists():
            return f'{path} is not there'
    return None


def fold_features(
    csv_file: str | os.PathLike, device: str | torch.device, tell: Callable[[str], None] = print
) -> FoldFeatures:
    """The features of a completion in folds; those that are kept if they are of the same models and images.

    Raises:
        UserError: models or images are missing or do not fit each other, or can not be read.
    """
    record = Record.read(record_path(csv_file))
    reason = why_no_features(record)
    if reason is not None:
        raise UserError(reason)
    path = features_path(csv_file)
    cfg = record.load_config()
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    dataset = whole(cfg.train_dataloader.dataset)
    if len(record.annotations) > 1:  # folds of both splits
        dataset = with_options(dataset, ann_file=str((folds_dir(Path(csv_file)) / UNION).absolute()))
    loader = loader_for_testing(cfg, dataset)
    batches = LabelledBatches(loader, record.classes, 'images')
    images = [record.img_root / image for image in batches.image_ids]
    seen_by = [cfg.model.to_dict(), loader.to_dict(), record.folds, record.fold_seed]
    made_of = _made_of(seen_by, [*record.checkpoints, *annotation_paths(dataset)], images)
    kept = _read(path, made_of)
    if kept is not None:
        return kept
    parts = []
    for number, checkpoint in enumerate(record.checkpoints, 1):
        tell(f'looking at {len(batches.image_ids):,} images by the model of fold {number} of {record.folds}')
        model = init_model(cfg.copy(), checkpoint, device)
        if tuple(model.classes) != record.classes:
            raise UserError(f'{checkpoint}: it has other classes than the record; complete the labels anew')
        keep_tokens(model, model.cfg, [batches.loader], tell)
        parts.append(_look(model, batches))
    fold = [record.fold_of(image) for image in batches.image_ids]
    logits, features = (np.stack(kind) for kind in zip(*parts, strict=True))
    found = FoldFeatures(np.array(batches.image_ids), np.array(fold), batches.observed, logits, features)
    with atomic_write(path, 'wb') as file:
        np.savez(file, made_of=made_of, **{field.name: getattr(found, field.name) for field in fields(found)})
    return found


@torch.inference_mode()
def _look(model, batches: LabelledBatches) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) logits and (N, D) features, float32."""
    tokens: list[torch.Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].float().mean(1).cpu()))
    try:
        logits = [
            model.network(model.data_preprocessor(batch)['inputs'])['logits'].float().cpu() for batch, _ in batches
        ]
    finally:
        hook.remove()
    return torch.cat(logits).numpy(), torch.cat(tokens).numpy()


def _made_of(facts: list, files: list[Path], images: list[Path]) -> str:
    """What the features depend on; an image counts as the same while its size and time are."""
    digests = []
    for path in files:
        with open(path, 'rb') as stream:
            digests.append(sha256_of(stream))
    try:
        stats = [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in images]
    except OSError as error:
        raise UserError(f'the image is not there: {error.filename}') from None
    return json.dumps([facts, digests, stats], default=str)


def _read(path: Path, made_of: str) -> FoldFeatures | None:
    try:
        with open(path, 'rb') as stream, np.load(stream, allow_pickle=False) as kept:
            if str(kept['made_of']) != made_of:
                return None
            return FoldFeatures(**{field.name: kept[field.name] for field in fields(FoldFeatures)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None  # it is computed anew
