"""Multi-label image recognition with incomplete labels.

What a notebook needs is here; each name is imported when it is first used, since the stack behind it takes seconds.

- :func:`load_config`, a config by path or name, with changes
- :func:`build_runner`, the training of a config: ``build_runner(load_config('sarlp_r18_digits_p0.1')).train()``
- :func:`init_model`, a trained model from a config and a checkpoint
- :class:`MultiLabelInferencer`, images in, classes out
- :func:`complete`, a spreadsheet with blanks and a folder of photographs in, a completed spreadsheet out
- :func:`complete_labels`, the part of it that fills in the blanks of a data set, for any config or model
"""

import importlib
from typing import TYPE_CHECKING, Any

from sarlp._stack import guard_stack

if TYPE_CHECKING:
    from sarlp.apps.completion import complete_labels
    from sarlp.apps.spreadsheet_completion import complete
    from sarlp.engine import build_runner, load_config
    from sarlp.inference import init_model
    from sarlp.inference.inferencer import MultiLabelInferencer

__version__ = '0.1.0'

guard_stack()

__all__ = [
    'MultiLabelInferencer',
    '__version__',
    'build_runner',
    'complete',
    'complete_labels',
    'init_model',
    'load_config',
]

_PLACES = {
    'MultiLabelInferencer': 'sarlp.inference.inferencer',
    'build_runner': 'sarlp.engine',
    'complete': 'sarlp.apps.spreadsheet_completion',
    'complete_labels': 'sarlp.apps.completion',
    'init_model': 'sarlp.inference',
    'load_config': 'sarlp.engine',
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
