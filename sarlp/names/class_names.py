"""Two lists of class names that meet: which place of one is which of the other, or why they do not go together.

One law for all of them. Names are the same if they are after cleaning (:mod:`.clean_names`). The same names in the
same order are fine. The same names in another order are matched by name where something is read that names stand beside
- labels, scores, embeddings - and refused where a place has a meaning that was learnt. Anything else is refused, and
some of the names that differ are told.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sarlp.errors import UserError, shorten
from sarlp.names.clean_names import match_names


def check_names(names: Any, source: str) -> tuple[str, ...]:
    """A list of class names, as it must be.

    Args:
        names: a list or tuple of different, non-empty str.
        source: where it is from, for the message.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(names, list | tuple) or not names:
        raise UserError(f'{source}: expected a list of class names, found {str(names)[:100]!r}')
    strange = [name for name in names if not isinstance(name, str) or not name.strip()]
    if strange:
        raise UserError(f'{source}: class names must be texts, found {shorten([repr(name) for name in strange])}')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f'{source}: class names must differ, but these occur more than once: {shorten(repeated)}')
    return tuple(names)


def columns_by_name(
    names: Sequence[str],
    classes: Sequence[str],
    names_of: object,
    classes_of: object,
    advice: str,
    more: bool = False,
    error: type[UserError] = UserError,
) -> list[int]:
    """Where each class is in another list: ``[names[column] for column in result]`` are the classes, cleaned.

    Args:
        names: N names, all different, of what is read.
        classes: C names, all different, in the order that is wanted.
        names_of, classes_of: what the two are the classes of, for the message.
        advice: what to do where they do not go together, a sentence without its full stop.
        more: ``names`` may have others too.
        error: raised.

    Raises:
        UserError: a name has no counterpart.
    """
    places = match_names(classes, names)
    times = Counter(places)
    unknown = [] if more else sorted(name for index, name in enumerate(names) if not times[index])
    missing = sorted(name for name, place in zip(classes, places, strict=True) if place is None or times[place] > 1)
    if unknown or missing:
        only = [
            f'only {whose} has {shorten(some)}'
            for whose, some in (('the former', unknown), ('the latter', missing))
            if some
        ]
        raise error(
            f'{names_of} has {len(names)} classes, {classes_of} has {len(classes)}; {", ".join(only)}. {advice}.'
        )
    return [place for place in places if place is not None]


def require_same(
    names: Sequence[str],
    classes: Sequence[str],
    names_of: object,
    classes_of: object,
    advice: str,
    error: type[UserError] = UserError,
) -> None:
    """The stricter half of the law, where places have a meaning; see :func:`columns_by_name`.

    Raises:
        UserError: a name has no counterpart, or the order is another.
    """
    columns = columns_by_name(names, classes, names_of, classes_of, advice, error=error)
    for index, (name, other, column) in enumerate(zip(names, classes, columns, strict=True)):
        if column != index:
            raise error(
                f'{names_of} and {classes_of} have the same {len(names)} classes in another order: class {index} is '
                f'{name} in the former and {other} in the latter. {advice}.'
            )
