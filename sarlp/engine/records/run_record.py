"""What a run records of itself in its work directory: who it is, from what it can go on, what is its best.

The record decides which checkpoint is the newest, which the best, and which may be deleted; neither a number in a name
nor the time of a file does. Work directories of earlier versions have none: see :mod:`sarlp.engine.records.survey`.
"""

import datetime
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json

RECORD = 'checkpoints.json'
SELECTION = 'selection.json'  # of a run that measures the test set beside the selection
SESSION = re.compile(r'\d{8}_\d{6}')  # the folder in which MMEngine keeps the log of one start of a tool
RESUMABLE = re.compile(r'(epoch|iter)_\d+\.pth')
BEST = re.compile(r'best_(?P<metric>.+)_(epoch|iter)_\d+\.pth')
_SESSIONS: set[str] = set()  # of this process


def own_session(name: str) -> str:
    """The name of a session that no other of this process has: this one, or that of the first free second after it.

    MMEngine names its message hub, logger and scope after it; runs that begin within one second would share them.
    """
    form = '%Y%m%d_%H%M%S'
    while name in _SESSIONS:
        second = datetime.datetime.strptime(name, form) + datetime.timedelta(seconds=1)
        name = second.strftime(form)
    _SESSIONS.add(name)
    return name


@dataclass(frozen=True)
class Saved:
    """A checkpoint.

    Attributes:
        file: its name in the folder of the checkpoints.
        epoch: epochs done.
        iter: iterations done.
    """

    file: str
    epoch: int
    iter: int


@dataclass
class RunRecord:
    """The content of ``checkpoints.json``.

    Attributes:
        run: the run's name, in the meta of each of its checkpoints too.
        folder: where its checkpoints lie, if not beside the record.
        resumable: what can be gone on from, in the order of writing. The last may not exist yet: it is listed first and
            written then, so that whatever dies, no checkpoint lies about that is not listed.
        best: by metric; first those by which the run selects now.
    """

    run: str
    folder: str | None = None
    resumable: list[Saved] = field(default_factory=list)
    best: dict[str, Saved] = field(default_factory=dict)

    def write(self, work_dir: str | Path) -> None:
        with atomic_write(Path(work_dir) / RECORD) as file:
            json.dump({'version': 1, **asdict(self)}, file, indent=1)
            file.write('\n')

    def place(self, work_dir: str | Path) -> Path:
        """The folder of the checkpoints."""
        return Path(work_dir if self.folder is None else self.folder)

    def files(self) -> set[str]:
        """The names of all checkpoints of the run."""
        return {saved.file for saved in (*self.resumable, *self.best.values())}


def new_run() -> str:
    """A name for a run that begins now."""
    return f'{datetime.datetime.now():%Y%m%d_%H%M%S}_{secrets.token_hex(3)}'


def read_record(work_dir: str | Path) -> RunRecord | None:
    """The record of a work directory; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    path = Path(work_dir) / RECORD
    if not path.is_file():
        return None
    try:
        content = read_json(path, limit=1 << 24)
        if content['version'] != 1:
            raise ValueError(f'it has the version {content["version"]!r}, expected 1')
        run, folder = content['run'], content['folder']
        if not re.fullmatch(r'\w{1,60}', run) or not isinstance(folder, str | None):
            raise ValueError(f'run or folder is no name: {run!r}, {folder!r}')
        resumable = [_saved(entry) for entry in content['resumable']]
        best = {str(metric): _saved(entry) for metric, entry in content['best'].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path}: is no record of a run ({type(error).__name__}: {error}). If you remove it, --resume goes by what '
            'the checkpoints themselves say'
        ) from error
    return RunRecord(run, folder, resumable, best)


def _saved(entry: Mapping) -> Saved:
    file, epoch, iteration = entry['file'], entry['epoch'], entry['iter']
    if Path(file).name != file or type(epoch) is not int or type(iteration) is not int:
        raise ValueError(f'expected the name of a file, an epoch and an iteration, got {dict(entry)}')
    return Saved(file, epoch, iteration)


def checkpoints_in(work_dir: str | Path, folder: str | Path | None = None) -> list[Path]:
    """The checkpoints of runs that lie in a work directory, and in the folder where they are to be written.

    What the record lists, whatever its name, and what has the name of a checkpoint. Other files are not of a run.
    """
    record = read_record(work_dir)
    found = [] if record is None else [record.place(work_dir) / file for file in sorted(record.files())]
    for place in dict.fromkeys((Path(work_dir), Path(folder or work_dir))):
        files = sorted(place.glob('*.pth'))
        found += [file for file in files if RESUMABLE.fullmatch(file.name) or BEST.fullmatch(file.name)]
    return list(dict.fromkeys(path.resolve() for path in found if path.is_file()))


def set_aside(work_dir: str | Path, folder: str | Path, session: str, config: str) -> Path | None:
    """Move what an earlier run left into a folder ``run_<name>``: its checkpoints, its record, its logs, its config.

    Args:
        work_dir: of that run.
        folder: of the checkpoints that are to be written.
        session: name of the folder with the log of this start, which stays.
        config: name of the file of its config.

    Returns:
        The folder, below ``work_dir``; None if there was no checkpoint. Nothing is deleted or overwritten.
    """
    work_dir, record = Path(work_dir), read_record(work_dir)
    files = checkpoints_in(work_dir, folder)
    if not files:
        return None
    if record is None:
        times = [path.name for path in work_dir.iterdir() if SESSION.fullmatch(path.name) and path.name < session]
        record = RunRecord(min(times, default='earlier'))  # MMEngine names a run by the time of its start
        written = False
    else:
        written = True
    target = _unused(work_dir / f'run_{record.run}')
    target.mkdir()
    for file in files:
        if file.parent.resolve() == work_dir.resolve():
            place = target
        else:
            place = file.parent / target.name
            place.mkdir(exist_ok=True)
            record.folder = str(place)
        os.rename(file, place / file.name)
    logs = [path for path in work_dir.iterdir() if SESSION.fullmatch(path.name) and path.name != session]
    for path in (*logs, *(work_dir / name for name in ('last_checkpoint', SELECTION, config))):
        if path.exists():
            os.rename(path, target / path.name)
    if written:
        record.write(target)
        (work_dir / RECORD).unlink()
    return target


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f'{path.name}_{number}')
    return candidate
