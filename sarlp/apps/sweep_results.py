"""What lies below a folder of work directories: the metrics of each run, by model, known ratio, mask and seed."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sarlp.apps.completion.record import Record, record_path
from sarlp.apps.sweep import COMPLETED, RESULTS
from sarlp.errors import UserError, shorten
from sarlp.evaluation.report import own_numbers
from sarlp.io.image_files import walk_files
from sarlp.io.json_file import read_json

METRICS = ('mAP', 'mAP_plain', 'CF1', 'OF1', 'CF1_top3', 'OF1_top3', 'recovery AP', 'recovery F1')
CALIBRATION = 'calibration error'
PEEKING = ('mAP selected without the test set', 'best on test', 'gain of peeking')
_FILE = 'metrics.json'
_PARTS = ('AP', 'recovery', 'protocol')  # of it, which are no metrics
_NAME = re.compile(r'(?P<series>.+)_p(?P<ratio>\d+(?:\.\d+)?)')
_RUN = re.compile(r'(?:mask(?P<mask>\d+)_)?seed(?P<seed>\d+)')
_NO_RUN = (-1, -1)


@dataclass
class Row:
    """The runs of one config and known ratio.

    Attributes:
        runs: mask and seed of each; one that lies in no folder of a sweep has -1 for both.
        values: metric to one value a run, in percent; NaN where a run did not measure it.
        protocols: what the numbers of each run depend on.
        own: names in ``values`` of metrics of one's own, in the unit that they have.
    """

    runs: list[tuple[int, int]] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    protocols: list[Mapping] = field(default_factory=list)
    own: dict[str, None] = field(default_factory=dict)

    def measured(self, metric: str) -> list[float]:
        """The values of the runs that measured it."""
        return [value for value in self.values.get(metric, ()) if not math.isnan(value)]

    def by_mask(self, metric: str) -> dict[int, list[float]]:
        """Mask to the values of the runs that measured it."""
        found: dict[int, list[float]] = defaultdict(list)
        for (mask, _), value in zip(self.runs, self.values[metric], strict=True):
            if not math.isnan(value):
                found[mask].append(value)
        return found

    @property
    def has_seeds(self) -> bool:
        """Whether some mask has several seeds, so that their spread can be told from that of the masks."""
        masks = [mask for mask, _ in self.runs]
        return len(masks) > len(set(masks)) and -1 not in masks


Place = tuple[str, float]
Table = dict[Place, Row]


class _Found(NamedTuple):
    """Where a ``metrics.json`` lies: name and known ratio of its config, the work directory, whether of a sweep."""

    place: Place
    work_dir: Path
    of_sweep: bool


def collect(root: str | Path, tell: Callable[[str], None] = print) -> Table:
    """Read every ``metrics.json`` below a folder of work directories, and the completion beside it.

    Args:
        root: work directories ``<name>_p<ratio>``, with ``results/metrics.json`` in them or in the folders of their
            runs, see :func:`~sarlp.apps.sweep.plan`; or one of these. Links to folders are followed.
        tell: what is done with a line on files that are left out, that may be of one run, or that lie in a folder named
            after another one.

    Returns:
        (name, known ratio) to its runs.

    Raises:
        UserError: there are no results, some are damaged, or a run has them twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f'{root}: no such folder; name one with work directories, such as that of sarlp sweep --root')
    table: Table = defaultdict(Row)
    nowhere: list[Path] = []
    beside: list[Path] = []
    unnamed: dict[Place, list[Path]] = defaultdict(list)
    same: dict[tuple, list[Path]] = defaultdict(list)
    for name in sorted(name for name in walk_files(root) if name.rpartition('/')[2] == _FILE):
        file = root / name
        found = _find(root, file)
        if found is None:
            nowhere.append(file)
            continue
        of_sweep = found.work_dir / RESULTS
        if found.of_sweep and file.parent.absolute() != of_sweep and (of_sweep / _FILE).is_file():
            beside.append(file)
            continue
        content = _read(file)
        protocol = content.get('protocol') or {}
        run = _run(found.work_dir.name, protocol, file, tell) if found.of_sweep else _NO_RUN
        if run == _NO_RUN:
            unnamed[found.place].append(file)
        for one in {run, protocol.get('run')} - {_NO_RUN, None}:
            same[found.place, one].append(file)
        _add(table[found.place], run, content, found.work_dir)
    if not table:
        raise UserError(f'{root}: no metrics.json below a work directory named <model>_<backbone>_<data set>_p<ratio>')
    for files, why in ((nowhere, 'below no folder <name>_p<ratio>'), (beside, f'beside the {RESULTS} of their run')):
        if files:
            tell(f'note: left out: {len(files):,} {why}: {shorten(files)}')
    for ((series, ratio), _), files in same.items():
        if len(files) > 1:
            raise UserError(
                f'{series}_p{ratio:g}: there are several results of one run, or of one mask and seed, which would '
                f'count as several runs: {shorten(files)}. Move those away that are not to count'
            )
    for (series, ratio), files in unnamed.items():
        if len(table[series, ratio].runs) > 1:
            tell(f'note: {series}_p{ratio:g}: each of these counts as a run: {shorten(files)}')
    return dict(sorted(table.items()))


def _find(root: Path, file: Path) -> _Found | None:
    """By the names of the folders, of which the root may be a work directory, that of a run in it, or its results."""
    most = len(root.absolute().parts) - 2
    folders = [folder for folder in file.absolute().parents if len(folder.parts) >= most]
    for number, folder in enumerate(folders):
        if match := _NAME.fullmatch(folder.name):
            place = match['series'], float(match['ratio'])
            run = next((folder for folder in folders[:number] if _RUN.fullmatch(folder.name)), None)
            return _Found(place, run or folders[folders[0].name == RESULTS], run is not None)
    return None


def _run(name: str, protocol: Mapping, file: Path, tell: Callable[[str], None]) -> tuple[int, int]:
    """Mask and seed of a run: those that it had, where its results say them, else those of its folder's name."""
    match = _RUN.fullmatch(name)
    assert match is not None  # of a folder of a sweep
    named = int(match['mask'] or match['seed']), int(match['seed'])
    mask = protocol.get('label_mask')
    said = (mask.get('seed') if isinstance(mask, Mapping) else None), protocol.get('seed')
    run = said[0] if type(said[0]) is int else named[0], said[1] if type(said[1]) is int else named[1]
    if run != named:
        tell(f'note: {file}: counts as mask {run[0]} and seed {run[1]}, with which it was run')
    return run


def _add(row: Row, run: tuple[int, int], content: Mapping, work_dir: Path) -> None:
    row.runs.append(run)
    row.protocols.append(content.get('protocol') or {})
    recovery = {f'recovery {key}': value for key, value in (content.get('recovery') or {}).items()}
    flat = {**content, **recovery}
    own = own_numbers({name: value for name, value in content.items() if name not in _PARTS})
    row.own |= dict.fromkeys(own)
    values = {metric: flat.get(metric) for metric in METRICS} | own | _peeked(content) | _completed(work_dir)
    for metric in {**row.values, **values}:
        value = values.get(metric)
        filled = row.values[metric]
        filled += [math.nan] * (len(row.runs) - 1 - len(filled)) + [math.nan if value is None else value]


def _read(file: Path) -> dict:
    """Content of a ``metrics.json``. Raises: UserError, it is none."""
    try:
        content = read_json(file)
        numbers = [content.get(metric) for metric in METRICS]
        parts = [content.get(name) or {} for name in ('protocol', 'recovery')]
    except (ValueError, AttributeError):
        content, numbers, parts = None, [], []
    known = all(number is None or isinstance(number, int | float) for number in numbers)
    if content is None or 'mAP' not in content or not known or not all(isinstance(part, dict) for part in parts):
        raise UserError(f'{file}: is no metrics.json of sarlp test, or damaged; test that run again, or move the file')
    return content


def _peeked(content: Mapping) -> dict[str, float | None]:
    """mAP of the epoch that was selected without the test set, and of the best one on it."""
    found = (content.get('protocol') or {}).get('selection')
    if not found or found['metric'] != 'mAP':
        return {}
    values = found['selected']['test'], found['best_on_test']['test'], found['gain_of_peeking']
    return dict(zip(PEEKING, values, strict=True))


def _completed(folder: Path) -> dict[str, float]:
    """What ``sarlp recover`` measured on the labels that the mask hides, in percent."""
    file = record_path(folder / COMPLETED)
    record = Record.read(file) if file.is_file() else None
    if record is None or record.measured is None:
        return {}
    found = {CALIBRATION: record.measured.get('calibration_error', math.nan)}
    for asked, quality in record.measured_at.items():
        found[f'precision at {asked}'] = quality['positive']['precision']
        found[f'recall at {asked}'] = quality['positive']['recall']
    return {metric: 100 * value for metric, value in found.items()}
