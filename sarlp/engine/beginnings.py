"""Checkpoints of sarlp that a training begins with: ``load_from``, and what ``init_cfg`` of a part of the model names.

Whichever way weights come in, they have seen what they were trained on.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sarlp.engine.config.changes import config_values
from sarlp.engine.records.checkpoint_file import read_checkpoint, trained_classes
from sarlp.engine.records.provenance import revealed, seen_before
from sarlp.engine.unlike_training import Changes, changes_since_training
from sarlp.errors import UserError

_OF_A_PART = re.compile(r'model\.(.*\.)?init_cfg\.(\d+\.)?checkpoint')
_WITH_CLASSES = re.compile(r'model\.(head\.)?init_cfg\.')  # others have no row for a class


def beginnings_of_parts(cfg: Config) -> dict[str, tuple[str, dict]]:
    """The checkpoints that parts of a model begin with, by the key of the config that names them.

    Returns:
        File and content of each; weights of some other kind, which do not say what they have seen, are left out. What
        reads them tells what is wrong with them.
    """
    found = {}
    for key, file in config_values(cfg).items():
        if isinstance(file, str) and _OF_A_PART.fullmatch(key) and Path(file).expanduser().is_file():
            try:
                checkpoint = read_checkpoint(file)
            except UserError:
                continue
            if isinstance(checkpoint.get('meta'), Mapping):
                found[key] = file, checkpoint
    return found


def told_of(key: str, file: str, meta: Mapping, dataset: Any, cfg: Config) -> Iterator[str]:
    """Warnings on weights that a training begins with.

    Args:
        key: of the config, ``'load_from'`` or one of :func:`beginnings_of_parts`; or ``'resume'``.
        file: that it names.
        meta: of that.
        dataset: that is trained on.
        cfg: of the training.
    """
    if change := revealed(seen_before(dataset, meta), cfg):
        yield (
            f'{file}: was trained on labels of these images that the label mask hides now ({change}), so '
            'what is measured on hidden labels is no recovery'
        )
    if key == 'resume':  # which tells by itself what is otherwise
        return
    changes = changes_since_training(meta, cfg)
    if key != 'load_from' and not key.startswith('model.init_cfg.'):  # of the whole model nothing was to be the same
        changes = Changes(changes.normalisation)
    for line in changes.of_weights():
        yield f'{file}: {line}'


def look_at_parts(
    cfg: Config, dataset: Any, check_classes: Callable[[dict, str], None], warn: Callable[[str], None]
) -> tuple[Mapping, ...]:
    """Look at the checkpoints that parts of a model begin with as at that of ``load_from``.

    Args:
        cfg: of the training.
        dataset: that is trained on.
        check_classes: called with a checkpoint, and its file, whose rows for classes are taken over: where it has as
            many as the model. Others do not fit, and are left out.
        warn: called with each of :func:`told_of`.

    Returns:
        The meta of each.
    """
    begun = beginnings_of_parts(cfg)
    for key, (file, checkpoint) in begun.items():
        classes = trained_classes(checkpoint, file) if _WITH_CLASSES.match(key) else None
        if classes is not None and len(classes) == len(dataset.classes):
            check_classes(checkpoint, file)
        for line in told_of(key, file, checkpoint['meta'], dataset, cfg):
            warn(line)
    return tuple(checkpoint['meta'] for _, checkpoint in begun.values())
