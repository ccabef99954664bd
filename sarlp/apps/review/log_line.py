"""A line of the log of decisions, as text and as what it says."""

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from sarlp.io.json_file import finite_float, no_constant, unique_keys
from sarlp.labels import CODES, DECISIONS

NAMES: Mapping[int | None, str | None] = {None: None, **{code: name for code, name in DECISIONS.items()}}
_LABEL = {'image', 'class', 'decision'}
_MORE = {'answer', 'by', 'undo'}

Pair = tuple[str, str]  # image, name of the class


class Line(NamedTuple):
    """An answer to one label or to a page of them, or the undoing of one.

    Attributes:
        decisions: 1 / 0 / -1, or None where nothing is decided (any more), by label.
        answer: its number; None in logs of earlier versions, which count.
        by: who answered; None if it is not known.
        undo: number of the answer that is taken back; True in logs of earlier versions, the last one. None otherwise.
    """

    decisions: Mapping[Pair, int | None]
    answer: int | None = None
    by: str | None = None
    undo: int | bool | None = None

    def encode(self) -> bytes:
        """One line, whatever the number of labels: half a page is never on the disk."""
        labels = [
            {'image': image, 'class': name, 'decision': NAMES[decision]}
            for (image, name), decision in self.decisions.items()
        ]
        content: dict[str, Any] = labels[0] if len(labels) == 1 else {'labels': labels}
        content |= {key: getattr(self, key) for key in sorted(_MORE) if getattr(self, key) is not None}
        content['time'] = datetime.now(timezone.utc).isoformat(timespec='seconds')
        return (json.dumps(content, ensure_ascii=False) + '\n').encode()

    @classmethod
    def decode(cls, line: bytes) -> 'Line':
        """Raises: ValueError, RecursionError; it is none of a log."""
        content = json.loads(
            line.decode(), object_pairs_hook=unique_keys, parse_constant=no_constant, parse_float=finite_float
        )
        if not isinstance(content, dict) or 'time' not in content:
            raise ValueError('expected an object with the time')
        labels = content.pop('labels', None)
        if labels is None:
            labels = [{key: content.pop(key) for key in _LABEL if key in content}]
        if not content.keys() <= _MORE | {'time'}:
            raise ValueError(f'the keys must be {", ".join(sorted(_LABEL | _MORE | {"labels", "time"}))}')
        if not isinstance(labels, list) or not labels:
            raise ValueError('labels must be a list of them')
        decisions = dict(map(_label, labels))
        if len(decisions) < len(labels):
            raise ValueError('a label is there twice')
        answer, by, undo = (content.get(key) for key in ('answer', 'by', 'undo'))
        if answer is not None and (type(answer) is not int or answer < 1):
            raise ValueError('answer must be its number')
        if by is not None and not isinstance(by, str):
            raise ValueError('by must be a text')
        if 'undo' in content and undo is not True and (type(undo) is not int or undo < 1):
            raise ValueError('undo must be the number of an answer, or left out')
        return cls(decisions, answer, by, undo)


def _label(content: Any) -> tuple[Pair, int | None]:
    if not isinstance(content, dict) or content.keys() != _LABEL:
        raise ValueError(f'a label must have {", ".join(sorted(_LABEL))}')
    image, name, decision = content['image'], content['class'], content['decision']
    if not isinstance(image, str) or not isinstance(name, str):
        raise ValueError('image and class must be texts')
    if decision is not None and (not isinstance(decision, str) or decision not in CODES):
        raise ValueError(f'the decision must be {", ".join(CODES)} or null')
    return (image, name), None if decision is None else CODES[decision]
