"""The table of many runs: mean and spread over seeds, by config and known ratio."""

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.io.outputs import begins_with, check_output
from sarlp.visualization.figure_files import is_figure, save_named

METRICS = ('mAP', 'mAP_plain', 'CF1', 'OF1', 'CF1_top3', 'OF1_top3', 'recovery AP', 'recovery F1')
_MARK = 'results'
_NAME = re.compile(r'(?P<series>.+)_p(?P<ratio>[\d.]+)')


def collect(root: str | Path) -> dict[tuple[str, float], dict[str, list[float]]]:
    """Read every ``metrics.json`` below a folder of work directories.

    Args:
        root: work directories ``<name>_p<ratio>``, with ``results/metrics.json`` in them or in their ``seed*`` folders.

    Returns:
        (name, known ratio) to metric to one value a run, in percent; NaN where a run did not measure it.

    Raises:
        UserError: there are no results.
    """
    table: dict[tuple[str, float], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(Path(root).glob('**/metrics.json')):
        match = next((m for part in reversed(file.parts[:-1]) if (m := _NAME.fullmatch(part))), None)
        if match is None:
            continue
        content = json.loads(file.read_text('utf-8'))
        flat = {**content, **{f'recovery {key}': value for key, value in (content.get('recovery') or {}).items()}}
        for metric in METRICS:
            value = flat.get(metric)
            table[match['series'], float(match['ratio'])][metric].append(math.nan if value is None else value)
    if not table:
        raise UserError(f'{root}: no metrics.json below a work directory named <model>_<backbone>_<data set>_p<ratio>')
    return {key: dict(row) for key, row in sorted(table.items())}


def _cell(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    if math.isnan(mean):
        return '-'
    return f'{mean:.1f}' if len(values) == 1 else f'{mean:.1f} ± {float(np.std(values, ddof=1)):.1f}'


def markdown(table: dict) -> str:
    """One row a config and known ratio, and, over several ratios, one row of their average. Spread: sample s.d."""
    lines = [
        '| model | p | runs | ' + ' | '.join(METRICS) + ' |',
        '|---|---|---|' + '---|' * len(METRICS),
    ]
    for series in dict.fromkeys(name for name, _ in table):
        rows = {ratio: row for (name, ratio), row in table.items() if name == series}
        for ratio, row in rows.items():
            cells = [_cell(row[metric]) for metric in METRICS]
            lines.append(f'| {series} | {ratio:g} | {len(row["mAP"])} | ' + ' | '.join(cells) + ' |')
        if len(rows) > 1:
            means = [_cell([float(np.mean([np.mean(row[metric]) for row in rows.values()]))]) for metric in METRICS]
            lines.append(f'| {series} | average | | ' + ' | '.join(means) + ' |')
    return '\n'.join(lines)


def comma_separated(table: dict) -> str:
    """One line a config, known ratio and metric: mean, sample standard deviation, number of runs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['model', 'known_ratio', 'metric', 'mean', 'std', 'runs'])
    for (series, ratio), row in table.items():
        for metric, values in row.items():
            spread = np.std(values, ddof=1) if len(values) > 1 else math.nan
            writer.writerow([series, f'{ratio:g}', metric, f'{np.mean(values):.4f}', f'{spread:.4f}', len(values)])
    return stream.getvalue()


def write_results(table: dict, prefix: str) -> None:
    """Write ``<prefix>.md``, ``.csv`` and ``.png``.

    Raises:
        UserError: a file of such a name is there, and is no such table or plot.
    """
    texts = {'md': markdown(table) + '\n', 'csv': comma_separated(table)}
    for suffix, text in texts.items():
        check_output(f'{prefix}.{suffix}', (), begins_with(text.partition('\n')[0]))
    check_output(f'{prefix}.png', (), is_figure(_MARK))
    for suffix, text in texts.items():
        with atomic_write(f'{prefix}.{suffix}') as file:
            file.write(text)
    save_named(plot(table), f'{prefix}.png', _MARK)


def plot(table: dict, metric: str = 'mAP') -> Figure:
    """``metric`` against the known ratio, one line a config, bars of one standard deviation over the runs."""
    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for series, marker in zip(dict.fromkeys(name for name, _ in table), 'osD^vPX*<>' * 10, strict=False):
        ratios = [ratio for name, ratio in table if name == series]
        values = [table[series, ratio][metric] for ratio in ratios]
        means = np.array([np.mean(value) for value in values])
        spread = np.array([np.std(value, ddof=1) if len(value) > 1 else 0.0 for value in values])
        (line,) = axes.plot(ratios, means, marker=marker, label=series)
        axes.vlines(ratios, means - spread, means + spread, color=line.get_color(), alpha=0.5)
    axes.set_xlabel('share of labels that are known, p')
    axes.set_ylabel(f'{metric} (%)')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
