"""The tables of many runs: mean and spread over masks and seeds, what was recovered, differences on the same masks."""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sarlp.apps.completion.record import Record, record_path
from sarlp.apps.sweep import COMPLETED, RESULTS
from sarlp.apps.sweep_protocols import differing_protocols
from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json
from sarlp.io.outputs import begins_with, check_output
from sarlp.visualization.figure_files import is_figure, save_named

METRICS = ('mAP', 'mAP_plain', 'CF1', 'OF1', 'CF1_top3', 'OF1_top3', 'recovery AP', 'recovery F1')
_MARK = 'results'
_NAME = re.compile(r'(?P<series>.+)_p(?P<ratio>\d+(?:\.\d+)?)')
_RUN = re.compile(r'(?:mask(?P<mask>\d+)_)?seed(?P<seed>\d+)')
_CALIBRATION = 'calibration error'
_PEEKING = ('mAP selected without the test set', 'best on test', 'gain of peeking')


@dataclass
class Row:
    """The runs of one config and known ratio.

    Attributes:
        runs: mask and seed of each; one that lies in no folder of a sweep has -1 for both.
        values: metric to one value a run, in percent; NaN where a run did not measure it.
        protocols: what the numbers of each run depend on.
    """

    runs: list[tuple[int, int]] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    protocols: list[Mapping] = field(default_factory=list)

    def by_mask(self, metric: str) -> dict[int, list[float]]:
        found: dict[int, list[float]] = defaultdict(list)
        for (mask, _), value in zip(self.runs, self.values[metric], strict=True):
            found[mask].append(value)
        return found

    @property
    def has_seeds(self) -> bool:
        """Whether some mask has several seeds, so that their spread can be told from that of the masks."""
        masks = [mask for mask, _ in self.runs]
        return len(masks) > len(set(masks)) and -1 not in masks


Table = dict[tuple[str, float], Row]


def collect(root: str | Path, tell: Callable[[str], None] = print) -> Table:
    """Read every ``metrics.json`` below a folder of work directories, and the completion beside it.

    Args:
        root: work directories ``<name>_p<ratio>``, with ``results/metrics.json`` in them or in the folders of their
            runs, see :func:`~sarlp.apps.sweep.plan`.
        tell: what is done with a line on files that are left out, or that may be of one run.

    Returns:
        (name, known ratio) to its runs.

    Raises:
        UserError: there are no results, some are damaged, or a run has them twice.
    """
    table: Table = defaultdict(Row)
    left_out: list[Path] = []
    files: dict[tuple, list[Path]] = defaultdict(list)
    for file in sorted(Path(root).glob('**/metrics.json')):
        match = next((m for part in reversed(file.parts[:-1]) if (m := _NAME.fullmatch(part))), None)
        if match is None:
            left_out.append(file)
            continue
        key = match['series'], float(match['ratio'])
        row = table[key]
        folder = file.parent.parent if file.parent.name == RESULTS else file.parent
        run = _RUN.fullmatch(folder.name)
        seed = int(run['seed']) if run else -1
        row.runs.append((int(run['mask']) if run and run['mask'] else seed, seed))
        files[key, row.runs[-1]].append(file)
        content = _read(file)
        row.protocols.append(content.get('protocol') or {})
        flat = {**content, **{f'recovery {key}': value for key, value in (content.get('recovery') or {}).items()}}
        for metric in METRICS:
            value = flat.get(metric)
            row.values[metric].append(math.nan if value is None else value)
        for metric, value in {**_peeked(content), **_completed(folder)}.items():
            values = row.values[metric]
            values += [math.nan] * (len(row.runs) - 1 - len(values)) + [value]
    if not table:
        raise UserError(f'{root}: no metrics.json below a work directory named <model>_<backbone>_<data set>_p<ratio>')
    if left_out:
        tell(f'note: left out: {len(left_out):,} below no folder <name>_p<ratio>: {shorten(left_out)}')
    for ((series, ratio), (_, seed)), of_run in files.items():
        if len(of_run) > 1 and seed >= 0:
            raise UserError(
                f'{series}_p{ratio:g}: there are several results of one mask and seed, which would count as several '
                f'runs: {shorten(of_run)}. Move those away that are not to count'
            )
        if len(of_run) > 1:
            tell(f'note: {series}_p{ratio:g}: each of these counts as a run: {shorten(of_run)}')
    for row in table.values():
        for values in row.values.values():
            values += [math.nan] * (len(row.runs) - len(values))
    return dict(sorted(table.items()))


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


def _peeked(content: Mapping) -> dict[str, float]:
    """mAP of the epoch that was selected without the test set, and of the best one on it."""
    found = (content.get('protocol') or {}).get('selection')
    if not found or found['metric'] != 'mAP':
        return {}
    values = found['selected']['test'], found['best_on_test']['test'], found['gain_of_peeking']
    return dict(zip(_PEEKING, values, strict=True))


def _completed(folder: Path) -> dict[str, float]:
    """What ``sarlp recover`` measured on the labels that the mask hides, in percent."""
    file = record_path(folder / COMPLETED)
    record = Record.read(file) if file.is_file() else None
    if record is None or record.measured is None:
        return {}
    found = {_CALIBRATION: record.measured.get('calibration_error', math.nan)}
    for asked, quality in record.measured_at.items():
        found[f'precision at {asked}'] = quality['positive']['precision']
        found[f'recall at {asked}'] = quality['positive']['recall']
    return {metric: 100 * value for metric, value in found.items()}


def _cell(values: Sequence[float]) -> str:
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return '-'
    mean = f'{float(np.mean(values)):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {_sd(values):.1f}'


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def noise(row: Row, metric: str = 'mAP') -> tuple[float, float]:
    """Sample standard deviation over the masks, of the mean of each mask's seeds, and over the seeds of one mask.

    The second is pooled over the masks; either is NaN where there is one mask, or one seed a mask.
    """
    by_mask = row.by_mask(metric)
    squares = sum(len(values) * np.var(values) for values in by_mask.values())
    freedom = sum(len(values) - 1 for values in by_mask.values())
    over_seeds = math.sqrt(squares / freedom) if freedom else math.nan
    return _sd([float(np.mean(values)) for values in by_mask.values()]), over_seeds


def markdown(table: Table, against: str | None = None) -> str:
    """The tables.

    The first has one row a config and known ratio, mean and sample standard deviation over its runs, and, over several
    ratios, one row of their average. Others follow where there is something to say: the spreads over masks and over
    seeds apart; the epoch selected without the test set against the best one on it; what was recovered. With
    ``against``, a last one has the differences in mAP to that config on the same masks and seeds, with their standard
    error.

    Raises:
        UserError: ``against`` is not in the table.
    """
    blocks = [_scores(table)]
    if any(row.has_seeds for row in table.values()):
        blocks.append(_noise(table))
    if any(_PEEKING[0] in row.values for row in table.values()):
        blocks.append(_columns(table, 'model', _PEEKING))
    if any(_CALIBRATION in row.values for row in table.values()):
        blocks.append(_recovered(table))
    if against is not None:
        blocks.append(_differences(table, against))
    if notes := differing_protocols({place: row.protocols for place, row in table.items()}):
        blocks.append('\n'.join(notes))
    return '\n\n'.join(blocks)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (columns, ['---'] * len(columns), *rows))


def _rows(table: Table, cells: Callable[[Row], Sequence[str]]) -> list[list[str]]:
    return [[series, f'{ratio:g}', str(len(row.runs)), *cells(row)] for (series, ratio), row in table.items()]


def _scores(table: Table) -> str:
    lines = []
    for series in dict.fromkeys(name for name, _ in table):
        rows = {ratio: row for (name, ratio), row in table.items() if name == series}
        lines += _rows(
            {(series, ratio): row for ratio, row in rows.items()},
            lambda row: [_cell(row.values[metric]) for metric in METRICS],
        )
        if len(rows) > 1:
            means = [_cell([float(np.mean([np.mean(row.values[m]) for row in rows.values()]))]) for m in METRICS]
            lines.append([series, 'average', '', *means])
    return _grid(['model', 'p', 'runs', *METRICS], lines)


def _noise(table: Table) -> str:
    def cells(row: Row) -> list[str]:
        return ['-' if math.isnan(value) else f'{value:.2f}' for value in noise(row)]

    return _grid(['model', 'p', 'runs', 'mAP: s.d. over masks', 's.d. over seeds'], _rows(table, cells))


def _recovered(table: Table) -> str:
    names = dict.fromkeys(name for row in table.values() for name in row.values)
    return _columns(table, 'model, out of fold', [name for name in names if name not in (*METRICS, *_PEEKING)])


def _columns(table: Table, title: str, metrics: Sequence[str]) -> str:
    lines = []
    for (series, ratio), row in table.items():
        number = sum(not math.isnan(value) for value in row.values.get(metrics[0], ()))
        if number:
            lines.append([series, f'{ratio:g}', str(number), *(_cell(row.values.get(name, ())) for name in metrics)])
    return _grid([title, 'p', 'runs that measured it', *metrics], lines)


def differences(table: Table, against: str) -> dict[tuple[str, float], list[float]]:
    """mAP of each config minus that of ``against``, one a run that both have with the same mask and seed.

    Raises:
        UserError: ``against`` is not in the table.
    """
    names = list(dict.fromkeys(series for series, _ in table))
    if against not in names:
        raise UserError(f'no results of {against!r} to compare with; there are {shorten(names)}')
    found = {}
    for (series, ratio), row in table.items():
        if series == against or (against, ratio) not in table:
            continue
        other = _by_run(table[against, ratio])
        found[series, ratio] = [value - other[run] for run, value in _by_run(row).items() if run in other]
    return found


def _by_run(row: Row) -> Mapping[tuple[int, int], float]:
    return {run: v for run, v in zip(row.runs, row.values['mAP'], strict=True) if -1 not in run and not math.isnan(v)}


def _differences(table: Table, against: str) -> str:
    lines = []
    for (series, ratio), values in differences(table, against).items():
        if values:
            error = _sd(values) / math.sqrt(len(values))
            shown = f'{np.mean(values):+.1f}' + ('' if math.isnan(error) else f' ± {error:.1f}')
            lines.append([series, f'{ratio:g}', str(len(values)), shown])
    return _grid(['model', 'p', 'pairs', f'mAP minus {against}, standard error'], lines)


def comma_separated(table: Table) -> str:
    """One line a config, known ratio and metric: mean, sample standard deviation, number of runs that measured it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['model', 'known_ratio', 'metric', 'mean', 'std', 'runs'])
    for (series, ratio), row in table.items():
        for metric, all_values in row.values.items():
            values = [value for value in all_values if not math.isnan(value)]
            mean = float(np.mean(values)) if values else math.nan
            writer.writerow([series, f'{ratio:g}', metric, f'{mean:.4f}', f'{_sd(values):.4f}', len(values)])
    return stream.getvalue()


def write_results(table: Table, prefix: str, against: str | None = None) -> None:
    """Write ``<prefix>.md``, ``.csv`` and ``.png``.

    Raises:
        UserError: a file of such a name is there, and is no such table or plot.
    """
    texts = {'md': markdown(table, against) + '\n', 'csv': comma_separated(table)}
    for suffix, text in texts.items():
        check_output(f'{prefix}.{suffix}', (), begins_with(text.partition('\n')[0]))
    check_output(f'{prefix}.png', (), is_figure(_MARK))
    for suffix, text in texts.items():
        with atomic_write(f'{prefix}.{suffix}') as file:
            file.write(text)
    save_named(plot(table), f'{prefix}.png', _MARK)


def plot(table: Table, metric: str = 'mAP') -> Figure:
    """``metric`` against the known ratio, one line a config, bars of one standard deviation over the runs."""
    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for series, marker in zip(dict.fromkeys(name for name, _ in table), 'osD^vPX*<>' * 10, strict=False):
        ratios = [ratio for name, ratio in table if name == series]
        values = [table[series, ratio].values[metric] for ratio in ratios]
        means = np.array([np.mean(value) for value in values])
        spread = np.array([np.std(value, ddof=1) if len(value) > 1 else 0.0 for value in values])
        (line,) = axes.plot(ratios, means, marker=marker, label=series)
        axes.vlines(ratios, means - spread, means + spread, color=line.get_color(), alpha=0.5)
    axes.set_xlabel('share of labels that are known, p')
    axes.set_ylabel(f'{metric} (%)')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
