"""Category-wise fine-tuning: the last layer of a trained model, class by class, on the labels known of that class."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sarlp.apps.completion.scoring import LabelledBatches
from sarlp.apps.refit.evidence import collect, last_layer
from sarlp.apps.refit.row import fit_row, objective
from sarlp.engine import load_config, read_checkpoint
from sarlp.engine.devices import AUTO
from sarlp.engine.records.checkpoint_file import read_file
from sarlp.engine.records.provenance import EARLIER_MASKS, TRAINED_ON
from sarlp.engine.testing import loader_for_testing
from sarlp.errors import UserError, shorten
from sarlp.inference import init_model
from sarlp.io.files import atomic_write
from sarlp.io.outputs import check_output
from sarlp.labels import NEGATIVE, POSITIVE
from sarlp.models.classifier import MultiLabelClassifier

_MARK = 'refitted_from'  # entry of the meta of a checkpoint that was written here
_KEPT = ('cfg', 'dataset_meta', 'run', 'epoch', 'seed', 'selected_by', TRAINED_ON, EARLIER_MASKS)  # what is still true
_SETTLED = 1e-6  # the cross entropy that one more pass must win


@dataclass(frozen=True)
class Row:
    """What became of the row of a class.

    Attributes:
        positive, negative: known labels that it was fitted on.
        before, after: mean cross entropy over them, by the model itself; None where the class was left alone.
        moved: length of the change of the row over the length of the row.
        bias: change of the bias.
    """

    positive: int
    negative: int
    before: float | None = None
    after: float | None = None
    moved: float = 0.0
    bias: float = 0.0


@dataclass(frozen=True)
class Refit:
    """A written checkpoint.

    Attributes:
        classes: C names.
        rows: what became of each.
        out: the file.
    """

    classes: tuple[str, ...]
    rows: list[Row]
    out: Path


def refit_rows(
    model: MultiLabelClassifier,
    images: Callable[[], Iterable[tuple[dict, np.ndarray]]],
    observed: np.ndarray,
    l2: float = 0.1,
    min_labels: int = 5,
    passes: int = 6,
) -> list[Row]:
    """Refit the last layer of a model in place (after Category-wise Fine-tuning, CFT); everything else stays.

    Of each class, ``mean over its known labels of the cross entropy + l2 / 2 * m * |w - w0|^2`` becomes smaller, w0 the
    trained row and m the mean squared length of what the row is multiplied with, so that ``l2`` has no unit; the bias
    is free. A pooling that is not linear is taken as its tangent, and the class again at its new row, pass after
    pass over the images; a step that did not lower the class's own objective is halved.

    Args:
        model: of :func:`~sarlp.inference.init_model`.
        images: gives, at each call, batches and the labels (B, C) known of them, as ``observed`` has them.
        observed: (N, C) of 1 / 0 / -1.
        l2: > 0; how strongly the trained row holds.
        min_labels: a class with fewer known positives, or known negatives, is left alone; at least 1.
        passes: over the images, at least 2; the last one only measures.

    Returns:
        C rows.
    """
    if not l2 > 0 or min_labels < 1 or passes < 2:
        raise UserError(
            f'l2 must be positive, min_labels at least 1 and passes at least 2; got {l2}, {min_labels} and {passes}'
        )
    layer = last_layer(model.head)
    positive, negative = (observed == POSITIVE).sum(0), (observed == NEGATIVE).sum(0)
    rows = [Row(int(p), int(n)) for p, n in zip(positive, negative, strict=True)]
    open_ = [c for c, row in enumerate(rows) if min(row.positive, row.negative) >= min_labels]
    if not open_:
        return rows
    trained = _rows_of(layer)
    before: dict[int, float] = {}
    best: dict[int, np.ndarray] = {}
    least: dict[int, float] = {}
    penalties: dict[int, float] = {}
    tried: dict[int, np.ndarray] = {}
    expected: dict[int, float] = {}  # the row of the next pass, and its objective if the tangent were the truth
    for number in range(passes):
        _set_rows(layer, {c: trained[c] + moved for c, moved in tried.items()})
        evidence = collect(model, images(), open_)
        for c in [*open_]:
            own = evidence.pop(c)
            if number == 0:
                tried[c] = np.zeros_like(trained[c])
                penalties[c] = l2 * own.scale
                before[c] = objective(own.logits, own.target, tried[c], 0)
            value = objective(own.logits, own.target, tried[c], penalties[c])
            won = least.get(c, np.inf) - value
            if won > 0:
                best[c], least[c] = tried[c], value
                if min(won, abs(value - expected.get(c, np.inf))) < _SETTLED:
                    open_.remove(c)
                else:
                    tried[c], expected[c] = fit_row(own, tried[c], penalties[c])
            elif np.abs(best[c] - tried[c]).max() == 0 or won > -_SETTLED:
                tried[c] = best[c]
                open_.remove(c)
            else:
                tried[c] = (best[c] + tried[c]) / 2
        if not open_:
            break
    _set_rows(layer, {c: trained[c] + moved for c, moved in best.items()})
    for c, moved in best.items():
        after = least[c] - penalties[c] / 2 * float(moved[:-1] @ moved[:-1])
        length = float(np.linalg.norm(trained[c][:-1]))
        change = float(np.linalg.norm(moved[:-1])) / length if length else 0.0
        rows[c] = Row(rows[c].positive, rows[c].negative, before[c], after, change, float(moved[-1]))
    return rows


def refit_checkpoint(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    out: str | os.PathLike | None = None,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    device: str | torch.device = AUTO,
    **options: Any,
) -> Refit:
    """:func:`refit_rows` on the training images of a config, seen as test images are; the result is a new checkpoint.

    Args:
        config: file or name.
        checkpoint: file; its EMA weights are refitted. It stays as it is.
        out: the new checkpoint, weights alone; None puts it beside the old one, as ``<name>_refit.pth``.
        cfg_options: changes to the config, as :func:`~sarlp.engine.config.options.read_options` takes them.
        device: of :func:`~sarlp.engine.devices.choose_device`.
        **options: of :func:`refit_rows`.

    Raises:
        UserError: files do not fit each other, the head has no last layer, no class has enough known labels, or a file
            would be replaced that was not written here.
    """
    checkpoint = Path(checkpoint)
    out = checkpoint.with_name(f'{checkpoint.stem}_refit.pth') if out is None else Path(out)
    cfg = load_config(config, cfg_options)
    check_output(out, [checkpoint, *([] if cfg.filename is None else [cfg.filename])], _is_refitted)
    model = init_model(cfg.copy(), checkpoint, device)
    last_layer(model.head)
    batches = LabelledBatches(loader_for_testing(cfg, cfg.train_dataloader.dataset), model.classes, 'train')
    rows = refit_rows(
        model,
        lambda: ((batch, batches.observed[where]) for batch, where in batches),
        batches.observed,
        **options,
    )
    if all(row.after is None for row in rows):
        raise UserError(
            f'{checkpoint}: none of the {len(rows)} classes has enough known labels in the training images, so nothing '
            'was written; lower --min-labels, or let the label mask of the config leave more of them'
        )
    meta = read_checkpoint(checkpoint)['meta']
    meta = {name: meta[name] for name in _KEPT if name in meta} | {_MARK: checkpoint.name}
    with atomic_write(out, 'wb') as file:
        torch.save({'meta': meta, 'state_dict': {k: v.cpu() for k, v in model.state_dict().items()}}, file)
    return Refit(model.classes, rows, out)


def format_refit(refit: Refit) -> str:
    """A line a class, and what was left alone."""
    width = max(len('class'), *map(len, refit.classes))
    lines = [f'{"class":<{width}}  positive  negative  loss before    after  row moved  bias moved']
    for name, row in zip(refit.classes, refit.rows, strict=True):
        known = f'{name:<{width}}  {row.positive:>8,}  {row.negative:>8,}'
        if row.after is None:
            lines.append(f'{known}  left alone')
        else:
            lines.append(f'{known}  {row.before:>11.4f}  {row.after:>7.4f}  {row.moved:>9.1%}  {row.bias:>+10.3f}')
    alone = [name for name, row in zip(refit.classes, refit.rows, strict=True) if row.after is None]
    lines += ['', f'{len(refit.classes) - len(alone)} of {len(refit.classes)} classes refitted']
    if alone:
        lines[-1] += f'; left alone, with too few known labels: {shorten(alone)}'
    return '\n'.join([*lines, f'written to {refit.out}; the loss is that of the labels it was fitted on'])


def _rows_of(layer: nn.Linear) -> np.ndarray:
    """(C, F + 1) float64."""
    return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().cpu().double().numpy()


@torch.no_grad()
def _set_rows(layer: nn.Linear, rows: Mapping[int, np.ndarray]) -> None:
    for c, row in rows.items():
        layer.weight[c] = torch.from_numpy(row[:-1]).to(layer.weight)
        layer.bias[c] = float(row[-1])


def _is_refitted(path: Path) -> bool:
    try:
        content = read_file(path)
    except UserError:
        return False
    return isinstance(content, dict) and _MARK in (content.get('meta') or {})
