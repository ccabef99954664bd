"""Changes of a config from the command line: ``KEY=VALUE``, read and merged, or refused in one message.

Values are read as MMEngine reads them, with one exception. Where a text is wanted, such as a path, it is what was
typed: a folder named ``2024`` is no number, and one named ``my photos`` keeps its space.
"""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from sarlp.errors import UserError, shorten

# last parts of the keys whose values are texts; those of the first line are lists of texts where data sets are several
_LISTS = ('data_root', 'ann_file', 'img_path')
_TEXTS = (
    *_LISTS,
    *('work_dir', 'load_from', 'experiment_name', 'default_scope', 'prepare_data', 'text_encoder', 'type'),
    *('image_list', 'cache_dir', 'scores_dir'),
    *('backbone.weights', 'init_cfg.checkpoint', 'label_embedding.file', 'label_mask.file'),
)
# of the names at the top of a config those that are no arguments of MMEngine's Runner, and read all the same
_READ = (
    *('activation_checkpointing', 'efficient_conv_bn_eval'),  # by the Runner
    *('channels_last', 'compile', 'custom_imports', 'data_root', 'find_unused_parameters', 'fresh', 'image_size'),
    *('model_wrapper_cfg', 'prepare_data', 'recovery_evaluator', 'sync_bn', 'text_encoder', 'text_pooling', 'tokens'),
)
_OR_WHOLE = ('compile',)  # has parts, or is True or False
# what is neither yes or no, nor a number, and may stand where one does
_WORDS = {'resume': ('auto',), 'min_side': ('image_size',)}


def _ends(key: str, names: Sequence[str]) -> bool:
    return f'.{key}'.endswith(tuple(f'.{name}' for name in names))


def _may_be_list(key: str) -> bool:
    return key != 'data_root' and _ends(key, _LISTS)  # that of the whole config is one folder


def read_options(options: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Any]:
    """The changes by key, the last one of a key.

    Args:
        options: ``KEY=VALUE`` each, as typed; a mapping is taken as it is.

    Raises:
        UserError: one has no key or no value, or its brackets do not close.
    """
    if options is None or isinstance(options, Mapping):
        return dict(options or {})
    result = {}
    for option in options:
        key, equals, typed = option.partition('=')
        if not key or not equals or not typed.strip():
            raise UserError(f'--cfg-options {option}: expected KEY=VALUE; None is the value for none, . is this folder')
        result[key] = _read_text(key, typed) if _ends(key, _TEXTS) else _read_value(option, typed)
    return result


def _read_text(key: str, typed: str) -> str | list[str] | None:
    bare = typed.strip()
    if bare == 'None':
        return None
    if _may_be_list(key) and (',' in bare or (bare[0], bare[-1]) in (('[', ']'), ('(', ')'))):
        return [_unquote(part.strip()) for part in bare.strip('[]()').split(',') if part.strip()]
    return _unquote(typed)


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'' else text


def _read_value(option: str, typed: str) -> Any:
    try:
        return DictAction._parse_iterable(typed)
    except AssertionError as error:
        raise UserError(f'--cfg-options {option}: its brackets do not close') from error
    except RecursionError as error:  # of a dict within a list
        raise UserError(
            f'--cfg-options {option}: a value is a number, a text, None, True, False or a list of these; set what has '
            'parts in a config of your own'
        ) from error


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Change a config in place.

    Args:
        cfg: config.
        options: of :func:`read_options`; ``a.b.0`` is the first of a list ``b`` in ``a``.

    Raises:
        UserError: a key leads through something that has no parts.
    """
    for key in options:
        _check_way(cfg, key)
        for other, value in options.items():
            if key.startswith(f'{other}.') and not isinstance(value, Mapping):
                raise UserError(f'--cfg-options {key}: {other} is {value!r} by another option, and has no parts')
    places = {key: value for key, value in options.items() if key.rpartition('.')[2].isdigit()}
    cfg.merge_from_dict({key: value for key, value in options.items() if key not in places})
    for key, value in places.items():  # MMEngine merges dicts into the places of a list, and nothing else
        way, _, number = key.rpartition('.')
        several = _check_way(cfg, way)
        if isinstance(value, Mapping) or not isinstance(several, list):
            cfg.merge_from_dict({key: value})
        else:
            merge_options(cfg, {way: [value if place == int(number) else one for place, one in enumerate(several)]})


def check_typed(cfg: Config, options: Mapping[str, Any]) -> None:
    """See that what was typed changes something: a slip would be trained for hours without.

    Options that come as a mapping, out of a record or from Python, are not asked.

    Args:
        cfg: config, before :func:`merge_options`.
        options: of :func:`read_options`.

    Raises:
        UserError: nobody reads a key, a value is a text where a number is, or neither True nor False where one is.
    """
    for key, value in options.items():
        _check_read(cfg, key)
        _check_kind(key, _check_way(cfg, key), value)


def names_read() -> set[str]:
    """What is read of the names at the top of a config."""
    return {*inspect.signature(Runner.__init__).parameters, *_READ}


def _check_read(cfg: Config, key: str) -> None:
    """What nobody reads would change nothing, without a word; custom parts may read what their config has."""
    top, _, rest = key.partition('.')
    read = names_read()
    if not top or top in read or (top in cfg and 'custom_imports' in cfg):
        return
    values = [(way, value) for way, value in values_in(cfg._cfg_dict) if way.partition('.')[0] in read]
    if top in cfg:
        meant = [
            f'{way}.{rest}' if rest else way
            for way, value in values
            if type(value) is type(cfg[top]) and value == cfg[top]
        ]
        why = f'the config file makes others of {top}, and has been read; nothing reads it now'
    else:
        meant = [way for way, _ in values if way.endswith(f'.{key}')] or difflib.get_close_matches(top, read)
        why = f'nothing reads {top}'
    raise UserError(f'--cfg-options {key}: {why}' + (f'. Is one of these meant: {shorten(meant)}?' if meant else ''))


def _check_kind(key: str, before: Any, value: Any) -> None:
    if isinstance(before, bool) and isinstance(value, str | int | float) and not isinstance(value, bool):
        wanted = 'True or False'
    elif isinstance(before, int | float) and isinstance(value, str):
        wanted = 'a number'
    elif value is not None and key not in _OR_WHOLE and _has_parts(before) and not _has_parts(value):
        first = next(iter(before)) if isinstance(before, Mapping) else 0
        raise UserError(f'--cfg-options {key}={value}: {key} has parts; set one of them, such as {key}.{first}')
    else:
        return
    if value not in _WORDS.get(key.rpartition('.')[2], ()):
        raise UserError(f'--cfg-options {key}={value}: expected {wanted}, as {before!r} is')


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))


def _check_way(cfg: Config, key: str) -> Any:
    """What is there now, or None."""
    at: Any = cfg
    names = key.split('.')
    for number, name in enumerate(names):
        way = '.'.join(names[:number])
        if isinstance(at, list):
            if not name.isdigit() or int(name) >= len(at):
                raise UserError(f'--cfg-options {key}: {way} is a list of {len(at)}; expected a place from 0')
            at = at[int(name)]
        elif not isinstance(at, Mapping | Config):
            raise UserError(
                f'--cfg-options {key}: {way} is {at!r} and has no parts; correct the key, or set {way} as a whole in a '
                'config of your own'
            )
        elif not name:
            raise UserError(f'--cfg-options {key}: a part of the key is empty')
        elif name not in at:
            if any(part.isdigit() for part in names[number + 1 :]):
                way = '.'.join(names[: number + 1])
                raise UserError(f'--cfg-options {key}: there is no list {way} in this config; set it as a whole')
            return None
        else:
            at = at[name]
    return at


def check_texts(cfg: Config) -> None:
    """See that what must be a text is one, wherever in the config.

    Raises:
        UserError: all that is not is named.
    """
    wrong = [f'{key} = {value!r}' for key, value in values_in(cfg) if _ends(key, _TEXTS) and not _is_text(key, value)]
    if wrong:
        raise UserError(f'expected texts, in quotes, found {", ".join(wrong)}')


def values_in(part: Any, way: str = '') -> Iterator[tuple[str, Any]]:
    """Every value of a config, behind the key that ``--cfg-options`` has for it."""
    items = enumerate(part) if isinstance(part, list | tuple) else part.items()
    for name, value in items:
        key = f'{way}.{name}' if way else str(name)
        yield key, value
        if isinstance(value, Mapping | list | tuple):
            yield from values_in(value, key)


def _is_text(key: str, value: Any) -> bool:
    if isinstance(value, list | tuple) and _may_be_list(key):
        return bool(value) and all(isinstance(part, str) for part in value)
    return not isinstance(value, bool | int | float | list | tuple)
