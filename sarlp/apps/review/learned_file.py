"""What was learnt from a review, kept beside its log: a restart, and an export, go on from there."""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sarlp.apps.completion import record_path
from sarlp.apps.review.items import Items
from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.io.files import atomic_write, sha256_of


class Point(NamedTuple):
    """Of the curve of a review: after so many decisions so many blanks are filled."""

    answers: int
    filled: int


@dataclass(frozen=True)
class Kept:
    """The file.

    Attributes:
        image_ids: N.
        probabilities: (N, C) float64, calibrated.
        decisions: (N, C) int8 of 1 / 0 / -1, of the model.
        calibration: names the C classes.
        answers: decisions that it was learnt from.
        log_bytes: how much of the log they are.
        curve: so far.
    """

    image_ids: Sequence[str]
    probabilities: np.ndarray
    decisions: np.ndarray
    calibration: Calibration
    answers: int
    log_bytes: int
    curve: Sequence[Point]

    def of(self, items: Items) -> tuple[np.ndarray, np.ndarray]:
        """Probability and decision of each; those that it has where nothing was learnt of it."""
        rows = {image: row for row, image in enumerate(self.image_ids)}
        columns = {name: column for column, name in enumerate(self.calibration.classes)}
        row = np.array([rows.get(image, -1) for image in items.images], np.int64)[items.image]
        column = np.array([columns.get(name, -1) for name in items.classes], np.int64)[items.cls]
        there = (row >= 0) & (column >= 0)
        return (
            np.where(there, self.probabilities[row, column], items.probability),
            np.where(there, self.decisions[row, column], items.suggestion),
        )


def learned_path(csv_file: str | os.PathLike) -> Path:
    """What was learnt on a ``recovered.csv``: ``recovered.review.learned.npz``."""
    return record_path(csv_file).with_suffix('.review.learned.npz')


def write_learned(kept: Kept, csv_file: str | os.PathLike, log: Path) -> None:
    """Raises: OSError, it can not be written; what was there stays."""
    about = {
        'calibration': kept.calibration.to_json(),
        'answers': kept.answers,
        'log_bytes': kept.log_bytes,
        'curve': kept.curve,
        **_made_of(csv_file, log, kept.log_bytes),
    }
    with atomic_write(learned_path(csv_file), 'wb') as file:
        np.savez(
            file,
            about=json.dumps(about),
            image_ids=np.array(kept.image_ids),
            probabilities=kept.probabilities,
            decisions=kept.decisions,
        )


def read_learned(csv_file: str | os.PathLike, log: Path) -> Kept | None:
    """None where nothing was learnt, or on another table, or from other decisions than those in the log."""
    path = learned_path(csv_file)
    try:
        with open(path, 'rb') as stream, np.load(stream, allow_pickle=False) as content:
            about = json.loads(str(content['about']))
            made_of = _made_of(csv_file, log, about['log_bytes'])
            if made_of != {name: about[name] for name in made_of}:
                return None
            return Kept(
                content['image_ids'].tolist(),
                content['probabilities'],
                content['decisions'],
                Calibration.from_json(about['calibration'], path),
                int(about['answers']),
                int(about['log_bytes']),
                [Point(*point) for point in about['curve']],
            )
    except (OSError, ValueError, KeyError, TypeError, UserError, zipfile.BadZipFile, EOFError):
        return None  # what is learnt can be learnt again


def _made_of(csv_file: str | os.PathLike, log: Path, log_bytes: int) -> Mapping[str, str]:
    with open(csv_file, 'rb') as stream:
        table = sha256_of(stream)
    content = log.read_bytes()[:log_bytes] if log_bytes else b''
    return {'table': table, 'log': hashlib.sha256(content).hexdigest()}
