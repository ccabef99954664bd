"""What a work directory holds of a run: config, curves, checkpoint, and the files of ``sarlp test --out``."""

import csv
import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from sarlp.engine import find_checkpoint
from sarlp.engine.config.file import read_config as read_file
from sarlp.errors import UserError
from sarlp.io.json_file import read_json
from sarlp.labels import UNKNOWN


@dataclass(frozen=True)
class Curves:
    """Logged scalars, in the order of their steps.

    Attributes:
        train: rows with ``iter``, ``epoch``, ``lr``, ``loss``, ... every some iterations.
        val: rows with ``step``, the epoch, and the metrics.
        sessions: how often the run was started or resumed.
    """

    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)
    sessions: int = 0

    def best(self, metric: str = 'mAP') -> dict | None:
        """The row of the epoch with the highest ``metric``, the first of equal ones; None if there is none."""
        rows = [row for row in self.val if _is_number(row.get(metric))]
        return max(rows, key=lambda row: row[metric], default=None)


@dataclass(frozen=True)
class Predictions:
    """``predictions.csv``: (N, C) ``scores`` of N ``image_ids`` and C ``classes``."""

    image_ids: list[str]
    classes: tuple[str, ...]
    scores: np.ndarray


@dataclass(frozen=True)
class HiddenLabels:
    """``recovered_labels.csv``, as far as the truth is known: M hidden labels.

    Attributes:
        classes: C names, in the order of their first appearance.
        column: (M,) int32, position in ``classes``.
        scores: (M,) float64.
        decision, truth: (M,) int8 of 1 / 0.
    """

    classes: tuple[str, ...]
    column: np.ndarray
    scores: np.ndarray
    decision: np.ndarray
    truth: np.ndarray


def read_config(work_dir: Path) -> tuple[Path, Config]:
    """The newest config in a work directory that trains, and its file.

    ``sarlp test`` leaves configs there as well, in which nothing of the training is left, and once put them in the
    place of the one beside the checkpoints.

    Raises:
        UserError: there is none.
    """
    found = sorted(work_dir.glob('*/vis_data/config.py'), reverse=True) + sorted(work_dir.glob('*.py'))
    for file in found:
        cfg = read_file(file)
        if cfg.get('train_dataloader') is not None and cfg.get('model') is not None:
            return file, cfg
    runs = sorted(path.parent.parent.name for path in work_dir.glob('*/*/vis_data'))
    hint = f'; the runs in its folders are {", ".join(dict.fromkeys(runs))}' if runs else ''
    raise UserError(
        f'{work_dir}: is no work directory of sarlp train, which leaves <time>/vis_data/config.py there{hint}'
    )


def read_curves(work_dir: Path) -> Curves:
    """Merge the ``scalars.json`` of all sessions of a run.

    A session that was resumed at a step takes the place of everything that older ones logged from there on: the
    iterations between the last checkpoint and the kill are not part of the run. Lines that a kill cut are left out.
    """
    train: dict[int, dict] = {}
    val: dict[int, dict] = {}
    sessions = 0
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        rows = list(_rows(file))
        if not rows:
            continue
        sessions += 1
        first = next((row for row in rows if 'iter' in row), None)
        if first is not None:
            train = {step: row for step, row in train.items() if step < first['step']}
            val = {step: row for step, row in val.items() if step < first.get('epoch', 0)}
        for row in rows:
            (train if 'iter' in row else val)[row['step']] = row
    return Curves([train[step] for step in sorted(train)], [val[step] for step in sorted(val)], sessions)


def _rows(file: Path) -> Iterator[dict]:
    for line in file.read_text('utf-8', errors='replace').splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _is_number(row.get('step')):
            yield row


def best_checkpoint(work_dir: Path) -> str | None:
    """See :func:`~sarlp.engine.find_checkpoint`; None if there is none."""
    try:
        return find_checkpoint(work_dir)
    except UserError:
        return None


def read_metrics(file: Path) -> dict | None:
    """``metrics.json``; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not file.is_file():
        return None
    try:
        content = read_json(file)
    except ValueError as error:
        raise UserError(f'{file}: expected JSON, but it does not parse ({error}); run sarlp test again') from None
    if not isinstance(content, dict) or not isinstance(content.get('AP'), dict):
        raise UserError(f'{file}: expected what sarlp test --out writes, but it has no "AP"; run it again')
    return content


def read_predictions(file: Path) -> Predictions | None:
    """``predictions.csv`` of ``sarlp test --out``, or a table of ``sarlp predict``, which has the chosen classes before
    the scores; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not file.is_file():
        return None
    with open(file, encoding='utf-8', newline='') as stream:
        rows = csv.reader(stream)
        header = next(rows, [])
        if header[:1] != ['image'] or len(header) < 2 or len(set(header)) != len(header):
            raise UserError(f'{file}: expected the header of sarlp test --out, image and the classes; run it again')
        ids: list[str] = []
        scores: list[list[float]] = []
        start = 1
        for row in rows:
            if len(row) != len(header):
                raise _damaged(file, rows.line_num, f'{len(header)} cells', f'{len(row)}')
            if not ids and header[1] == 'classes' and not _is_written_number(row[1]):  # a class may have that name
                start = 2
            ids.append(row[0])
            scores.append([_probability(cell, file, rows.line_num) for cell in row[start:]])
    return Predictions(ids, tuple(header[start:]), np.array(scores, np.float64).reshape(len(ids), len(header) - start))


def read_hidden(file: Path) -> HiddenLabels | None:
    """``recovered_labels.csv``; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not file.is_file():
        return None
    classes: dict[str, int] = {}
    column, scores, decision, truth = array('i'), array('d'), array('b'), array('b')  # of lists millions are too big
    with open(file, encoding='utf-8', newline='') as stream:
        rows = csv.reader(stream)
        header = ['image', 'class', 'probability', 'decision', 'truth']
        if next(rows, []) != header:
            raise UserError(f'{file}: expected the header {",".join(header)}; run sarlp test again')
        codes = {'1': 1, '0': 0, '': UNKNOWN}
        for row in rows:
            if len(row) != len(header) or row[3] not in ('0', '1') or row[4] not in codes:
                raise _damaged(file, rows.line_num, 'image, class, probability, decision 0 or 1, truth', ','.join(row))
            if row[4] != '':
                column.append(classes.setdefault(row[1], len(classes)))
                scores.append(_probability(row[2], file, rows.line_num))
                decision.append(codes[row[3]])
                truth.append(codes[row[4]])
    arrays = (np.asarray(column), np.asarray(scores), np.asarray(decision), np.asarray(truth))
    return HiddenLabels(tuple(classes), *arrays)


def _probability(cell: str, file: Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise _damaged(file, line, 'a probability', repr(cell))
    return value


def _is_written_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _damaged(file: Path, line: int, expected: str, found: str) -> UserError:
    return UserError(f'{file}, line {line}: expected {expected}, found {found[:80]}; run sarlp test again')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
