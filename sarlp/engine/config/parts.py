"""What a config is made of: ``dict(type=...)`` at the places where parts are built, with options of their kinds.

MMEngine builds a part where it is used, and many an option is looked at first in the middle of a step. A number in the
place of a part, or a text in that of a number, would end there, or mean something else without a word.
"""

import inspect
import numbers
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry
from torch import Tensor

from sarlp import registry as own
from sarlp.engine.config.options import values_in
from sarlp.errors import UserError
from sarlp.io.json_file import show
from sarlp.models.normalization import ASK

OF_NETWORK = ('model', 'model.backbone', 'model.head', 'model.data_preprocessor')  # without these there is none
_ONE, _LIST, _EITHER = 'dict(...)', 'a list of dict(...)', 'dict(...) or a list of them'
_STEPS = r'\d+(\.(policies|weak|strong|transforms)\.\d+(\.\d+)?)*'  # of a pipeline
# by key: what must be there, whether it may be None, and the registry of what is built there
_PLACES: tuple[tuple[str, str | None, bool, Registry | None], ...] = (
    (r'model|model\.(backbone|head|data_preprocessor)', _ONE, False, own.MODELS),
    (r'model\.method', _ONE, True, own.METHODS),
    (r'model\..*\.init_cfg', _EITHER, True, None),
    (r'model\..*', None, True, own.MODELS),
    (r'\w+_dataloader', _ONE, True, None),
    (r'\w+_dataloader(\.dataset|\.datasets\.\d+)+', _ONE, False, own.DATASETS),
    (r'\w+_dataloader\.sampler', _ONE, False, own.DATA_SAMPLERS),
    (r'\w+_dataloader\..*\.label_mask', _ONE, True, own.LABEL_MASKS),
    (r'\w+_dataloader\..*\.pipeline', _LIST, False, None),
    (rf'\w+_dataloader\..*\.pipeline\.{_STEPS}', _EITHER, False, own.TRANSFORMS),
    (r'optim_wrapper', _ONE, True, own.OPTIM_WRAPPERS),
    (r'optim_wrapper\.optimizer', _ONE, False, root.OPTIMIZERS),
    (r'param_scheduler', _EITHER, True, own.PARAM_SCHEDULERS),
    (r'param_scheduler\.\d+', _ONE, False, own.PARAM_SCHEDULERS),
    (r'default_hooks|log_processor|tokens', _ONE, True, None),
    (r'default_hooks\.\w+', _ONE, True, own.HOOKS),
    (r'custom_hooks', _LIST, True, None),
    (r'custom_hooks\.\d+', _ONE, False, own.HOOKS),
    (r'(train|val|test)_cfg', _ONE, True, own.LOOPS),
    (r'(val|test|recovery)_evaluator', _EITHER, True, own.METRICS),
    (r'(val|test|recovery)_evaluator\.\d+', _ONE, False, own.METRICS),
    (r'visualizer', _ONE, True, root.VISUALIZERS),
    (r'visualizer\.vis_backends', _LIST, True, None),
    (r'visualizer\.vis_backends\.\d+', _ONE, False, own.VISBACKENDS),
    (r'env_cfg|env_cfg\.\w+_cfg|randomness', _ONE, False, None),
)
_LIBRARIES = ('sarlp', 'mmengine', 'mmcv', 'mmpretrain', 'torch')  # whose annotations say what they take
# asked of the data and of the backbone, before the part is built
_ASKED = (
    *(('model.head.num_classes', None), ('model.head.in_channels', None)),
    *(('model.data_preprocessor.mean', ASK), ('model.data_preprocessor.std', ASK)),
)
_PLAIN = (str, int, float, list, tuple, Mapping, types.NoneType)
_WORDS = {bool: 'True or False', int: 'a whole number', str: 'a text', types.NoneType: 'None'}


def check_parts(cfg: Config) -> None:
    """See that there are parts where parts are built; what Python has built already is one.

    Raises:
        UserError: there is something else.
    """
    for key, value in values_in(cfg._cfg_dict):
        wanted, may_be_none, _ = _place(key)
        if wanted is None or (value is None and may_be_none) or _is_made_of_parts(value, wanted):
            continue
        raise UserError(
            f'{key} = {show(value)}: expected {wanted}{", or None" * may_be_none}; correct it, or leave it out'
        )


def require_parts(cfg: Config, names: Iterable[str]) -> None:
    """Raises: UserError, there is none of one of these names."""
    there = {key for key, value in values_in(cfg._cfg_dict) if value is not None}
    if absent := [name for name in names if name not in there]:
        raise UserError(
            f'{cfg.filename or "the config"}: {" and ".join(absent)} {"are" if len(absent) > 1 else "is"} not there, '
            'or None, and needed here; a config inherits it by _base_ (sarlp list names those that come with sarlp)'
        )


def check_arguments(parts: Mapping) -> None:
    """See that the options of parts are of the kinds that the parts say.

    Looked at are plain values - numbers, texts, True and False, None, and lists of them - of parts of known libraries.

    Args:
        parts: of a config, by their names in it.

    Raises:
        UserError: one is not.
    """
    for key, part in values_in(parts):
        kind = part.get('type') if isinstance(part, Mapping) else None
        registry = None if kind is None else _place(key)[2]
        cls = registry.get(kind) if isinstance(kind, str) and registry is not None else kind
        if not isinstance(cls, type) or cls.__module__.partition('.')[0] not in _LIBRARIES:
            continue
        for name, value in part.items():
            wanted = _annotation(cls, name)
            if (f'{key}.{name}', value) in _ASKED:
                continue
            if not _fits(value, wanted, cls.__module__.startswith('sarlp.')):
                raise UserError(f'{key}.{name} = {show(value)}: {cls.__name__} takes {_words(wanted)}; correct it')


def _place(key: str) -> tuple[str | None, bool, Registry | None]:
    for pattern, wanted, may_be_none, registry in _PLACES:
        if re.fullmatch(pattern, key):
            return wanted, may_be_none, registry
    return None, True, None


def _is_made_of_parts(value: Any, wanted: str) -> bool:
    if isinstance(value, list | tuple):
        return wanted != _ONE and all(_is_made_of_parts(one, _EITHER) for one in value)
    if isinstance(value, Mapping):
        return wanted != _LIST and value.get('type', '') is not None
    return not isinstance(value, _PLAIN)


def _annotation(cls: type, name: str) -> Any:
    """What the first of a class and its bases that has such an argument says of it; Any, where nothing is said."""
    for owner in cls.__mro__:
        made = owner.__dict__.get('__init__')
        parameter = inspect.signature(made).parameters.get(name) if inspect.isfunction(made) else None
        if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
            continue
        try:
            wanted = typing.get_type_hints(made).get(name, Any)
        except (NameError, TypeError, AttributeError):  # of a name that its module knows for type checkers alone
            return Any
        return typing.Optional[wanted] if parameter.default is None else wanted  # noqa: UP045  # also of a text
    return Any


def _fits(value: Any, wanted: Any, exactly: bool) -> bool:
    """Whether a value is of an annotated kind; ``exactly``: a whole number is no other one."""
    kind, inner = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, one, exactly) for one in inner)
    if kind is typing.Literal:
        return value in inner
    if kind is Tensor:  # beside a number, of an optimizer; no config has one
        return not isinstance(value, _PLAIN)
    if not isinstance(kind, type) or not isinstance(value, _PLAIN):
        return True
    if kind is bool:
        return isinstance(value, bool) or value in (0, 1)
    if kind in (int, float, numbers.Number):
        number = isinstance(value, int | float) and not isinstance(value, bool) and value == value  # no NaN
        return number and (kind is not int or not exactly or isinstance(value, int))
    if kind in (str, types.NoneType):
        return isinstance(value, kind)
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if not issubclass(kind, Sequence):
        return True
    if not isinstance(value, list | tuple):
        return False
    if kind is tuple and inner and Ellipsis not in inner:
        return len(value) == len(inner) and all(_fits(*pair, exactly) for pair in zip(value, inner, strict=True))
    return not inner or all(_fits(one, inner[0], exactly) for one in value)


def _words(wanted: Any) -> str:
    kind, inner = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(filter(None, map(_words, inner))))
    if kind is typing.Literal:
        return ' or '.join(map(repr, inner))
    if kind in (float, numbers.Number):
        return 'a number'
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Sequence):
        many = f'{len(inner)} values' if kind is tuple and inner and Ellipsis not in inner else 'a list'
        return f'{many} (each {_words(inner[0])})' if inner else many
    return 'dict(...)' if isinstance(kind, type) and issubclass(kind, Mapping) else ''
