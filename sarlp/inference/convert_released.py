"""The authors' released checkpoints, written as checkpoints of this project."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from sarlp.datasets.annotation import load_annotation
from sarlp.engine.build import load_config, set_num_classes
from sarlp.engine.records.checkpoint_file import read_file
from sarlp.engine.weights import load_weights
from sarlp.errors import UserError, shorten
from sarlp.io.embeddings import embedding_classes, load_embeddings
from sarlp.io.files import atomic_write
from sarlp.io.outputs import check_output
from sarlp.models.released import rename_released
from sarlp.models.token_encoder import sine_position_code
from sarlp.names.class_names import require_same
from sarlp.registry import MODELS


def convert_released(
    source: str | Path,
    target: str | Path,
    config: str | Path,
    ann_file: str | Path,
    embeddings: str | Path | None = None,
    options: Mapping | Sequence[str] | None = None,
) -> int:
    """Convert a released ``best_ema_model.pth``; every entry of the file and of the model is accounted for.

    Args:
        source: the released file, a flat state dict.
        target: checkpoint to write, for ``sarlp test`` and ``sarlp maps``.
        config: of the model; see :func:`~sarlp.paths.find_config`.
        ann_file: annotation file with the classes, in the order that the file was trained with.
        embeddings: the label embeddings that it was trained with, which the file does not hold; None takes those that
            the config names.
        options: changes of the config.

    Returns:
        The number of entries converted.

    Raises:
        UserError: the file is not of the model that the config describes, or something is missing.
    """
    check_output(target, [source], _is_converted)
    released: Any = read_file(source)
    if isinstance(released, dict) and isinstance(released.get('state_dict'), dict):
        released = released['state_dict']
    is_flat = isinstance(released, dict) and released
    if not is_flat or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in released.items()):
        raise UserError(f'{source}: is no released checkpoint: expected a flat dict of tensors')
    classes = load_annotation(ann_file)[0]['classes']
    cfg = load_config(config, options)
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    set_num_classes(cfg, len(classes), str(ann_file))
    model = MODELS.build({**cfg.model, 'method': None})

    _check_position_code(released, source)
    try:
        state = rename_released(released)
    except KeyError as error:
        raise UserError(f'{source}: {error.args[0]}; nothing was converted') from error
    embedding = cfg.model.head.get('label_embedding')
    if embedding is not None and embedding.get('file') is None:
        raise UserError(
            f'{config}: learns its label embeddings, whose name in released files is not known; use a config that '
            'reads them from a file'
        )
    if embedding is not None:
        embeddings = embedding['file'] if embeddings is None else embeddings
        advice = (
            f'The file was trained in the order of its label embeddings; give --classes in the order of {embeddings}'
        )
        require_same(embedding_classes(embeddings), classes, embeddings, ann_file, advice)
        rows = load_embeddings(embeddings)
        state['head.label_embedding.weight'] = torch.from_numpy(rows)
    elif embeddings is not None:
        raise UserError(f'{config}: this model has no label embeddings; leave {embeddings} out')

    for key, value in model.state_dict().items():  # counts batches, which nothing here depends on
        if key.endswith('num_batches_tracked'):
            state.setdefault(key, torch.zeros_like(value))
    checkpoint = {
        'meta': {'dataset_meta': {'classes': tuple(classes)}, 'converted_from': Path(source).name},
        'state_dict': state,
    }
    load_weights(model, checkpoint, source)
    _check_values(state, model.state_dict(), source)
    with atomic_write(target, 'wb') as file:
        torch.save(checkpoint, file)
    return len(released)


def _is_converted(path: Path) -> bool:
    try:
        content = read_file(path)
    except UserError:
        return False
    return isinstance(content, dict) and 'converted_from' in (content.get('meta') or {})


def _check_position_code(released: dict[str, Tensor], source: str | Path) -> None:
    """The position code is computed here; one that differs would silently be another model."""
    for key, code in released.items():
        if key.removeprefix('module.') == 'position_embedding.pe' and not _is_sine_code(code):
            raise UserError(f'{source}: its position code is not the sine code of this project')


def _is_sine_code(code: Tensor) -> bool:
    if code.ndim != 4 or code.shape[0] != 1 or code.shape[1] % 4 or not code.numel():
        return False
    _, channels, height, width = code.shape
    expected = sine_position_code(height, width, channels)
    return torch.allclose(code[0].flatten(1).T.to(expected.dtype), expected, atol=1e-4)


def _check_values(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str | Path) -> None:
    """Shapes are not all: whole numbers, or NaN, in the place of weights would be taken over as well."""
    wrong = [
        key
        for key, value in state.items()
        if value.is_floating_point() != own[key].is_floating_point() or not value.isfinite().all()
    ]
    if wrong:
        raise UserError(
            f'{source}: {len(wrong)} entries hold NaN, infinity or another kind of number than the model: '
            f'{shorten(sorted(wrong))}; nothing was converted'
        )
