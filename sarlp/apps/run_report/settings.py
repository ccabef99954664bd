"""The values of a config that say what a run is."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from sarlp.datasets.nesting import leaves
from sarlp.engine.config.inputs import plain_backbones
from sarlp.engine.testing import test_pipelines


def important(cfg: Config) -> list[tuple[str, str]]:
    """Name and value of what matters most, as far as the config has it."""
    train = cfg.train_dataloader
    head, backbone = cfg.model.get('head', {}), cfg.model.get('backbone', {})
    loop, wrapper = cfg.get('train_cfg') or {}, cfg.get('optim_wrapper') or {}
    hooks = cfg.get('default_hooks') or {}
    ema = (hooks.get('ema') or {}).get('momentum')
    found = {
        'data': _each(train.dataset, 'data_root'),
        'label mask': _each(train.dataset, 'label_mask') or 'none: every label of the file is seen',
        'held out': _each(train.dataset, 'holdout'),
        'held-out labels': _each(train.dataset, 'label_fold'),
        'classes': head.get('num_classes'),
        'head': _call(head, only=('encoder', 'srfl', 'sgfe', 'recovery', 'label_embedding')),
        'backbone': _call(backbone, only=('depth', 'base_channels', 'arch')),
        'pretrained': ', '.join(_weights(one) for _, one in plain_backbones(backbone)),
        'loss': _call(head.get('loss')),
        'image size': next((str(step['scale']) for step in _steps(cfg) if step.get('scale') is not None), None),
        'epochs': loop.get('max_epochs'),
        'batch, over all processes': train.get('batch_size'),
        'optimizer': _call(wrapper.get('optimizer')),
        'precision': wrapper.get('dtype', 'float32'),
        'schedule': ', '.join(_call(item) for item in cfg.get('param_scheduler') or ()),
        'decay of the averaged weights': f'{1 - ema:.6g}' if isinstance(ema, float) else None,
        'seed': (cfg.get('randomness') or {}).get('seed'),
    }
    return [(name, str(value)) for name, value in found.items() if value not in (None, '')]


def _weights(backbone: Mapping) -> str:
    return (backbone.get('init_cfg') or {}).get('checkpoint', 'no')


def _steps(cfg: Config) -> list[Mapping]:
    return [step for step in test_pipelines(cfg)[0] if isinstance(step, Mapping)]


def _each(dataset: Mapping, name: str) -> str:
    """An option of a data set, or those of the several that it is made of."""
    return ', '.join(dict.fromkeys(filter(None, (_call(leaf.get(name)) for leaf in leaves(dataset)))))


def _call(value: Any, only: tuple[str, ...] | None = None) -> str:
    """A part of a config as ``Type(argument=value, ...)``; parts inside it by their types."""
    if not value:
        return ''
    if not isinstance(value, Mapping):
        return str(value)
    arguments = []
    for name, inner in value.items():
        if name == 'type' or (only is not None and name not in only):
            continue
        if isinstance(inner, Mapping):
            inner = inner.get('type', '...')
        elif isinstance(inner, float):
            inner = f'{inner:.4g}'
        arguments.append(f'{name}={inner}')
    kind = str(value.get('type', ''))
    return f'{kind}({", ".join(arguments)})' if arguments or not kind else kind
