"""The command that trains on what a review exported."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sarlp.apps.completion import Record
from sarlp.datasets.nesting import keyed_leaves


def training_command(record: Record, files: Mapping[str, Path]) -> str:
    """The next training, on the written labels, with none of them hidden; or, as a comment, why it can not be said."""
    unspeakable = [str(path.absolute()) for path in files.values() if ',' in str(path.absolute())]
    if unspeakable:
        return (
            f'# --cfg-options would take this path for a list, for its comma: {unspeakable[0]}\n'
            '# move the files, or set train_dataloader.dataset.ann_file, and label_mask=None, in a config of your own'
        )
    cfg = record.load_config()
    keys = {
        loader: next(keyed_leaves(cfg[loader].dataset, f'{loader}.dataset'))[0]
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        if cfg.get(loader) is not None
    }
    mask = f'{keys["train_dataloader"]}.label_mask'
    options: dict[str, Any] = {k: value for k, value in record.cfg_options.items() if not k.startswith(mask)}
    for loader, key in keys.items():
        split = 'train' if loader == 'train_dataloader' else 'test'
        if split in files:
            options[f'{key}.ann_file'] = files[split].absolute()
            options |= {mask: None} if split == 'train' else {}
    words = ['sarlp', 'train', str(record.config), '--cfg-options']
    return shlex.join([*words, *(f'{key}={_spell(value)}' for key, value in options.items())])


def _spell(value: Any) -> str:
    """As :func:`~sarlp.engine.config.options.read_options` reads it."""
    if isinstance(value, list | tuple):
        brackets = '[]' if isinstance(value, list) else '()'
        return brackets[0] + ','.join(map(_spell, value)) + brackets[1]
    return str(value)
