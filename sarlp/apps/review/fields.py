"""What requests of the page say, checked."""

import re
from typing import Any

from flask import abort, request

from sarlp.apps.review.queue import Selection
from sarlp.apps.review.session import Answer, Review
from sarlp.errors import UserValueError
from sarlp.labels import CODES

_CLIENT = 'Sarlp-Client'
MOST = 100  # labels at a time


def client() -> str | None:
    """Who asks: a browser names itself by a word of its own making. None is nobody in particular."""
    name = request.headers.get(_CLIENT)
    if name is not None and not re.fullmatch(r'[0-9A-Za-z-]{1,64}', name):
        raise UserValueError(f'{_CLIENT} must be 1 to 64 letters, digits and hyphens')
    return name


def body(*keys: str) -> dict[str, Any]:
    return _object(request.get_json(), keys)


def _object(given: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() != set(keys):
        raise UserValueError(f'expected an object with {", ".join(keys)}')
    return given


def answers(review: Review, given: Any) -> list[Answer]:
    """A page of them, to different items."""
    if not isinstance(given, list) or not 1 <= len(given) <= MOST:
        raise UserValueError(f'answers must be a list of 1 to {MOST}')
    result = [answer(review, one) for one in given]
    if len({one.item for one in result}) < len(result):
        raise UserValueError('an item is answered twice')
    return result


def answer(review: Review, given: Any) -> Answer:
    given = _object(given, ('item', 'image', 'class', 'decision', 'seen'))
    index = item(review, given['item'])
    if review.queue.items[index].pair != (given['image'], given['class']):
        abort(409, 'the table of labels has changed since this page was opened; reload the page')
    decision = given['decision']
    if decision is not None and (not isinstance(decision, str) or decision not in CODES):
        raise UserValueError(f'decision must be one of {", ".join(CODES)} or null, got {decision!r}')
    return Answer(index, None if decision is None else CODES[decision], number(given['seen'], 'seen'))


def selection(given: Any) -> Selection:
    """Of the words of an address, or of an object; what is left out, empty or null selects everything."""
    names = {'class': 'cls', 'kind': 'kind', 'state': 'state', 'low': 'low', 'high': 'high', 'order': 'order'}
    if not hasattr(given, 'get'):
        raise UserValueError('selection must be an object')
    values: dict[str, Any] = {}
    for key, name in names.items():
        value = given.get(key)
        if value is None or value == '':
            continue
        if name in ('low', 'high'):
            try:
                value = float(value)
            except (TypeError, ValueError):
                raise UserValueError(f'{key} must be a number from 0 to 1, got {value!r}') from None
        elif not isinstance(value, str):
            raise UserValueError(f'{key} must be a text, got {value!r}')
        values[name] = value
    return Selection(**values)


def argument(name: str, default: int, allowed: range) -> int:
    """A whole number of the address."""
    value = _whole(name, str(default))
    if value not in allowed:
        raise UserValueError(f'{name} must be from {allowed[0]} to {allowed[-1]}, got {value}')
    return value


def start(review: Review) -> int | None:
    """The item of the address to go from; None if it has none."""
    return item(review, _whole('at', '')) if 'at' in request.args else None


def _whole(name: str, default: str) -> int:
    text = request.args.get(name, default)
    if not re.fullmatch('-?[0-9]{1,15}', text):
        raise UserValueError(f'{name} must be a whole number, got {text!r}')
    return int(text)


def number(value: Any, name: str) -> int:
    if type(value) is not int:
        raise UserValueError(f'{name} must be a whole number, got {value!r}')
    return value


def item(review: Review, index: Any) -> int:
    if type(index) is not int or not 0 <= index < len(review.queue):
        abort(404, f'there is no item {index!r}; the items are 0 to {len(review.queue) - 1}')
    return index
