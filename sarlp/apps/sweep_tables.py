"""The tables of many runs: mean and spread over masks and seeds, what was recovered, differences on the same masks."""

import csv
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sarlp.apps.sweep_protocols import data_set, differing_protocols
from sarlp.apps.sweep_results import CALIBRATION, METRICS, PEEKING, Place, Row, Table
from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.outputs import begins_with, check_output
from sarlp.visualization.figure_files import is_figure, save_named

_MARK = 'results'


def _cell(row: Row, metric: str, of: int | None = None, digits: int = 1) -> str:
    """Mean and spread over the runs that measured it; how many did, where that is not ``of``, which is all of them."""
    values = row.measured(metric)
    if not values:
        return '-'
    spread = f' ± {_sd(values):.{digits}f}' if len(values) > 1 else ''
    fewer = f' (of {len(values)})' if len(values) < (len(row.runs) if of is None else of) else ''
    return f'{_mean(values):.{digits}f}{spread}{fewer}'


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


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
    return _sd([_mean(values) for values in by_mask.values()]), over_seeds


def markdown(table: Table, against: str | None = None) -> str:
    """The tables.

    The first has one row a config and known ratio, mean and sample standard deviation over its runs, and, over several
    ratios, one row of their average. Others follow where there is something to say: the spreads over masks and over
    seeds apart; the epoch selected without the test set against the best one on it; metrics of one's own;
    what was recovered. With
    ``against``, a last one has the differences in mAP to that config on the same masks and seeds, with their standard
    error.

    Raises:
        UserError: ``against`` is not in the table.
    """
    blocks = [_scores(table)]
    if any(row.has_seeds for row in table.values()):
        blocks.append(_noise(table))
    if any(PEEKING[0] in row.values for row in table.values()):
        blocks.append(_columns(table, 'model', PEEKING))
    if own := list(dict.fromkeys(name for row in table.values() for name in row.own)):
        blocks.append(_own(table, own))
    if any(CALIBRATION in row.values for row in table.values()):
        blocks.append(_recovered(table))
    if against is not None:
        blocks.append(_differences(table, against))
    if notes := [*_differing_ratios(table), *differing_protocols({place: r.protocols for place, r in table.items()})]:
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
            lambda row: [_cell(row, metric) for metric in METRICS],
        )
        if len(rows) > 1:
            means = [np.mean([_mean(row.measured(metric)) for row in rows.values()]) for metric in METRICS]
            lines.append([series, 'average', '', *('-' if math.isnan(mean) else f'{mean:.1f}' for mean in means)])
    return _grid(['model', 'p', 'runs', *METRICS], lines)


def _differing_ratios(table: Table) -> list[str]:
    """A note for each data set whose averages are over different ratios."""
    by_data: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for series in dict.fromkeys(name for name, _ in table):
        ratios = [f'{ratio:g}' for name, ratio in table if name == series]
        if len(ratios) > 1:
            by_data[data_set(series)][', '.join(ratios)].append(series)
    return [
        'note: these averages do not compare, they are over different p: '
        + shorten([f'{ratios} ({shorten(names)})' for ratios, names in averages.items()])
        for averages in by_data.values()
        if len(averages) > 1
    ]


def _noise(table: Table) -> str:
    def cells(row: Row) -> list[str]:
        return ['-' if math.isnan(value) else f'{value:.2f}' for value in noise(row)]

    return _grid(['model', 'p', 'runs', 'mAP: s.d. over masks', 's.d. over seeds'], _rows(table, cells))


def _own(table: Table, names: Sequence[str]) -> str:
    """Metrics of one's own, of which there may be any for any model."""
    having = {place: row for place, row in table.items() if any(row.measured(name) for name in names)}
    lines = _rows(having, lambda row: [_cell(row, name, digits=2) for name in names])
    return _grid(["model, metrics of one's own", 'p', 'runs', *names], lines)


def _recovered(table: Table) -> str:
    names = dict.fromkeys(name for row in table.values() for name in row.values)
    own = {name for row in table.values() for name in row.own}
    return _columns(table, 'model, out of fold', [name for name in names if name not in {*METRICS, *PEEKING, *own}])


def _columns(table: Table, title: str, metrics: Sequence[str]) -> str:
    lines = []
    for (series, ratio), row in table.items():
        number = len(row.measured(metrics[0]))
        if number:
            lines.append([series, f'{ratio:g}', str(number), *(_cell(row, name, number) for name in metrics)])
    return _grid([title, 'p', 'runs that measured it', *metrics], lines)


def differences(table: Table, against: str) -> dict[Place, list[float]]:
    """mAP of each config minus that of ``against``, one a run that both have with the same mask and seed.

    Configs of another data set, which is the last word of their names, have none.

    Raises:
        UserError: ``against`` is not in the table.
    """
    names = list(dict.fromkeys(series for series, _ in table))
    if against not in names:
        raise UserError(f'no results of {against!r} to compare with; there are {shorten(names)}')
    found = {}
    for (series, ratio), row in table.items():
        if series == against:
            continue
        other = _by_run(table.get((against, ratio), Row())) if data_set(series) == data_set(against) else {}
        found[series, ratio] = [value - other[run] for run, value in _by_run(row).items() if run in other]
    return found


def _by_run(row: Row) -> Mapping[tuple[int, int], float]:
    return {run: v for run, v in zip(row.runs, row.values['mAP'], strict=True) if -1 not in run and not math.isnan(v)}


def _differences(table: Table, against: str) -> str:
    lines = []
    for (series, ratio), values in differences(table, against).items():
        error = _sd(values) / math.sqrt(len(values)) if values else math.nan
        shown = (f'{_mean(values):+.1f}' if values else '-') + ('' if math.isnan(error) else f' ± {error:.1f}')
        lines.append([series, f'{ratio:g}', str(len(values)), shown])
    return _grid(['model', 'p', 'pairs', f'mAP minus {against}, standard error'], lines)


def comma_separated(table: Table) -> str:
    """One line a config, known ratio and metric: mean, sample standard deviation, number of runs that measured it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['model', 'known_ratio', 'metric', 'mean', 'std', 'runs'])
    for (series, ratio), row in table.items():
        for metric in row.values:
            values = row.measured(metric)
            writer.writerow([series, f'{ratio:g}', metric, f'{_mean(values):.4f}', f'{_sd(values):.4f}', len(values)])
    return stream.getvalue()


def write_results(table: Table, prefix: str, against: str | None = None) -> None:
    """Write ``<prefix>.md``, ``.csv`` and ``.png``; one of these may be named in the place of the prefix.

    Raises:
        UserError: the prefix is of no name; a file of such a name is there, and is no such table or plot.
    """
    if not os.path.basename(prefix):
        raise UserError(f'--out {prefix}: expected the beginning of the names of three files, such as {prefix}table')
    prefix = re.sub(r'\.(md|csv|png)$', '', prefix)
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
        values = [table[series, ratio].measured(metric) for ratio in ratios]
        means = np.array([_mean(value) for value in values])
        spread = np.array([_sd(value) if len(value) > 1 else 0.0 for value in values])
        (line,) = axes.plot(ratios, means, marker=marker, label=series)
        axes.vlines(ratios, means - spread, means + spread, color=line.get_color(), alpha=0.5)
    axes.set_xlabel('share of labels that are known, p')
    axes.set_ylabel(f'{metric} (%)')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
