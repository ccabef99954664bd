"""What a completion leaves beside its table, for those who go on from there: review, prediction, export."""

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from sarlp.datasets.groups import groups_in
from sarlp.datasets.multilabel import fold_of
from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.io.files import atomic_write
from sarlp.io.json_file import plain, read_json
from sarlp.io.moved import follow
from sarlp.io.outputs import check_output, has_keys, is_table
from sarlp.labels import CODES, DECISIONS, NEGATIVE, POSITIVE

VERSION = 1
HEADER = ('image', 'class', 'probability', 'decision')
SUSPECTS_HEADER = ('image', 'class', 'label', 'probability')
EVIDENCE_HEADER = ('doubt', 'evidence')  # behind it; tables of earlier versions end before
_PATHS = ('config', 'cfg_options', 'data_root', 'img_root', 'annotations', 'checkpoints')  # what has paths in it
HELD_OUT, IN_SAMPLE = 'held out', 'in sample'


class Recovered(NamedTuple):
    """One line of ``recovered.csv``: an unknown label, its probability, and ``positive / negative / undecided``."""

    image: str
    cls: str
    probability: float
    decision: str


class Suspect(NamedTuple):
    """One line of ``recovered_suspects.csv``: a known label, ``positive`` or ``negative``, and what the model says.

    ``doubt`` is how far the score of the model, not calibrated, is from the label, in [0, 1]. ``evidence`` says whose
    score it is: ``'fold 2 of 5'``, of the model that was trained without that fold of the images; ``'held out'``, of
    one that was trained on other images; ``'in sample'``, of one that was trained on this very label, which it may have
    learnt by heart. Tables of earlier versions have neither.
    """

    image: str
    cls: str
    label: str
    probability: float
    doubt: float | None = None
    evidence: str = ''


@dataclass(frozen=True)
class Record:
    """``recovered.json``, beside ``recovered.csv``.

    Attributes:
        config: file that the model was trained with.
        cfg_options: changes to it, as of ``--cfg-options``.
        data_root: folder of the data set.
        img_root: folder that the paths of images are relative to.
        annotations: annotation file by split, of ``'train'`` and ``'test'`` those that were completed.
        checkpoints: the one that predicted all images, or one for each fold.
        folds: number of folds, or None.
        fold_seed: of the folds.
        calibration: probabilities and thresholds.
        expected: :func:`~sarlp.evaluation.quality.decision_quality`, cross-validated on known labels.
        measured: the same against the truth, where there is one, and how many of the ``compared`` known labels that a
            file of truth has too it ``contradicted``.
        measured_at: the same of the decisions at other precisions asked for, by precision, such as ``'0.95'``.
    """

    config: Path
    cfg_options: Mapping[str, Any]
    data_root: Path
    img_root: Path
    annotations: Mapping[str, Path]
    checkpoints: Sequence[Path]
    folds: int | None
    fold_seed: int
    calibration: Calibration
    expected: Mapping[str, Any]
    measured: Mapping[str, Any] | None
    measured_at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.calibration.classes

    def load_config(self) -> Config:
        """The config of the model, completed."""
        return load_config(self.config, self.cfg_options)

    def checkpoint_of(self, image_id: str) -> Path:
        """The checkpoint whose scores an image has."""
        return self.checkpoints[self.fold_of(image_id)]

    def fold_of(self, image_id: str) -> int:
        """The fold of an image, from 0, whose model was trained without all of the image's group; 0 without folds."""
        if self.folds is None:
            return 0
        return fold_of(self.group_of(image_id), self.folds, self.fold_seed)

    def group_of(self, image_id: str) -> str:
        """The group of an image, whose images are all in one fold; the image itself where it has none."""
        return self._groups.get(image_id, image_id)

    @cached_property
    def _groups(self) -> dict[str, str]:
        """Of all that was completed; what is split by image id has none."""
        return groups_in(self.annotations.values())

    def write(self, path: str | os.PathLike) -> None:
        content = {'version': VERSION, **asdict(self), 'calibration': self.calibration.to_json()}
        content['folder'] = os.path.dirname(os.path.abspath(path))
        with atomic_write(path) as file:
            json.dump(plain(content), file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write('\n')

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'Record':
        """Raises :class:`UserError` if the file is missing or damaged. Paths lead to what was moved with it, too."""
        calibration = Calibration.read(path)
        content = read_json(path)
        if content.get('version') != VERSION:
            raise UserError(f'{path}: expected a record of version {VERSION}; write it anew by sarlp recover')
        if isinstance(was := content.get('folder'), str):  # records of earlier versions do not say it
            here = os.path.dirname(os.path.abspath(path))
            content |= {key: _follow(content[key], was, here) for key in _PATHS if key in content}
        try:
            folds = content['folds']
            record = cls(
                config=Path(content['config']),
                cfg_options=dict(content['cfg_options']),
                data_root=Path(content['data_root']),
                img_root=Path(content['img_root']),
                annotations={name: Path(file) for name, file in content['annotations'].items()},
                checkpoints=[Path(file) for file in content['checkpoints']],
                folds=None if folds is None else int(folds),
                fold_seed=int(content['fold_seed']),
                calibration=calibration,
                expected=_quality(content['expected']),
                measured=None if content['measured'] is None else _quality(content['measured']),
                measured_at=_quality(content.get('measured_at', {})),
            )
            if len(record.checkpoints) != (record.folds or 1):
                raise ValueError(f'{len(record.checkpoints)} checkpoints for {record.folds or 1} folds')
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            reason = f'no {error}' if isinstance(error, KeyError) else error
            raise UserError(f'{path}: is no record of sarlp recover ({reason})') from None
        return record


def _follow(value: Any, was: str, here: str) -> Any:
    """A value of JSON whose paths follow the record."""
    if isinstance(value, Mapping):
        return {key: _follow(inner, was, here) for key, inner in value.items()}
    if isinstance(value, list):
        return [_follow(inner, was, here) for inner in value]
    return follow(value, was, here) if isinstance(value, str) else value


def _quality(content: Mapping[str, Any]) -> dict[str, Any]:
    """With NaN again where JSON has null."""
    return {
        name: _quality(value) if isinstance(value, Mapping) else math.nan if value is None else value
        for name, value in content.items()
    }


def find_recovered(path: str | os.PathLike) -> Path:
    """The ``recovered.csv`` that a person names, by itself or by the folder of a completion.

    Raises:
        UserError: there is none.
    """
    file = Path(path) / 'recovered.csv' if os.path.isdir(path) else Path(path)
    if file.suffix.lower() != '.csv' or not file.is_file():
        raise UserError(
            f'{path}: expected recovered.csv, or the folder that holds it: sarlp complete writes it into '
            'SPREADSHEET_completed, sarlp recover where its --out says'
        )
    return file


def record_path(csv_file: str | os.PathLike) -> Path:
    """The record of a ``recovered.csv``."""
    return Path(csv_file).with_suffix('.json')


def suspects_path(csv_file: str | os.PathLike) -> Path:
    """The table of suspects of a ``recovered.csv``."""
    path = Path(csv_file)
    return path.with_name(f'{path.stem}_suspects.csv')


def check_outputs(csv_file: str | os.PathLike, inputs: Iterable[str | os.PathLike]) -> None:
    """See that a table, its suspects and its record replace nothing but earlier ones; ``inputs``: files that are read.

    Raises:
        UserError: see :func:`~sarlp.io.outputs.check_output`.
    """
    inputs = list(inputs)
    check_output(csv_file, inputs, is_table(HEADER))
    own = is_table(SUSPECTS_HEADER), is_table((*SUSPECTS_HEADER, *EVIDENCE_HEADER))
    check_output(suspects_path(csv_file), inputs, lambda path: any(is_own(path) for is_own in own))
    check_output(record_path(csv_file), inputs, has_keys('version', 'calibration'))


def write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable[tuple]) -> None:
    """Write rows as CSV; probabilities to six significant digits."""
    with atomic_write(path, newline='') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f'{cell:.6g}' if isinstance(cell, float) else cell for cell in row] for row in rows)


def read_recovered(path: str | os.PathLike) -> list[Recovered]:
    """Read ``recovered.csv``.

    Raises:
        UserError: no such file, or a line that is not as it must be; file and line are named.
    """
    words = {word: word for word in CODES}
    once: dict[str, str] = {}  # of millions of lines each name would be a text of its own
    return [
        Recovered(
            once.setdefault(image, image),
            once.setdefault(name, name),
            _probability(where, p),
            words[_word(where, word, CODES)],
        )
        for where, (image, name, p, word) in _rows(path, [HEADER])
    ]


def read_suspects(path: str | os.PathLike) -> list[Suspect]:
    """Read ``recovered_suspects.csv``, also of earlier versions, which say nothing of the evidence.

    See :func:`read_recovered`.
    """
    labels = [DECISIONS[POSITIVE], DECISIONS[NEGATIVE]]
    rows = _rows(path, [(*SUSPECTS_HEADER, *EVIDENCE_HEADER), SUSPECTS_HEADER])
    return [
        Suspect(image, name, _word(where, word, labels), _probability(where, p), *_evidence(where, *more))
        for where, (image, name, word, p, *more) in rows
    ]


def _evidence(where: str, doubt: str | None = None, evidence: str = '') -> tuple[float | None, str]:
    return None if doubt is None else _probability(where, doubt), evidence


def _rows(path: str | os.PathLike, headers: Sequence[Sequence[str]]):
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.reader(file, strict=True)
            found = tuple(next(reader, []))
            if found not in headers:
                raise UserError(f'{path}: expected the columns {", ".join(headers[0])}, found {", ".join(found)[:200]}')
            for row in reader:
                where = f'{path}, line {reader.line_num}'
                if len(row) != len(found):
                    raise UserError(f'{where}: expected {len(found)} cells, found {len(row)}')
                yield where, row
    except FileNotFoundError:
        raise UserError(f'{path}: no such file; sarlp recover writes it') from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f'{path}: expected CSV in UTF-8, but it does not parse ({error})') from None


def _probability(where: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError(f'{where}: expected a probability in [0, 1], found {cell[:50]!r}')
    return value


def _word(where: str, cell: str, words) -> str:
    if cell not in words:
        raise UserError(f'{where}: expected one of {", ".join(words)}, found {cell[:50]!r}')
    return cell
