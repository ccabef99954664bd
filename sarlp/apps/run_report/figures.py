"""The figures that the report draws itself: curves of the training, recovery, calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sarlp.apps.run_report.svg import COLOURS, new_figure
from sarlp.apps.run_report.workdir import Curves
from sarlp.evaluation.measures import RecoveryCurve, Reliability

_SERIES = ('blue', 'orange', 'green', 'red', 'grey')
_MARKS = ('-', '--', '-.', ':', (0, (5, 1)))  # so that lines are told apart in print
_MOST_POINTS = 400


def draw_training(curves: Curves) -> Figure:
    """Losses and learning rate over the iterations."""
    figure, (losses, rates) = new_figure(9.2, 3.0, 2)
    rows = curves.train
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if 'loss' in name.lower()][:5]
    values = {name: _series(rows, 'iter', name) for name in names}
    for index, (name, (x, y)) in enumerate(values.items()):
        losses.plot(x, y, label=name, color=COLOURS[_SERIES[index]], linestyle=_MARKS[index], linewidth=1.4)
    everything = np.concatenate([y for _, y in values.values()]) if values else np.ones(1)
    if (everything > 0).all() and everything.max() > 20 * everything.min():
        losses.set_yscale('log')
        losses.yaxis.set_minor_formatter(NullFormatter())
    _finish(losses, 'iteration', 'loss')
    if names:
        losses.legend(frameon=False, fontsize=8)
    x, y = _series(rows, 'iter', 'lr')
    rates.plot(x, y, color=COLOURS['blue'], linewidth=1.4)
    _finish(rates, 'iteration', 'learning rate')
    rates.set_ylim(bottom=0)
    return figure


def draw_validation(curves: Curves) -> Figure:
    """mAP, and F1 of classes and overall, over the epochs, with the best epoch."""
    figure, (axes,) = new_figure(9.2, 3.2)
    best = curves.best()
    for index, name in enumerate(('mAP', 'mAP_plain', 'CF1', 'OF1')):
        x, y = _series(curves.val, 'step', name, thin=False)
        if len(x):
            colour, width = COLOURS[_SERIES[index]], 1.9 if name == 'mAP' else 1.2
            marker = '.' if len(x) <= 60 else None
            label = name.replace('_', ', ')
            axes.plot(x, y, label=label, color=colour, linestyle=_MARKS[index], linewidth=width, marker=marker)
    if best is not None:
        axes.axvline(best['step'], color=COLOURS['grey'], linewidth=1, linestyle=':')
        axes.plot([best['step']], [best['mAP']], 'o', color=COLOURS['blue'], markersize=6)
        axes.annotate(
            f'{best["mAP"]:.1f} in epoch {best["step"]}',
            (best['step'], best['mAP']),
            xytext=(-6, 6),
            textcoords='offset points',
            ha='right',
            fontsize=8.5,
        )
        axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize=8)
    _finish(axes, 'epoch', 'percent')
    return figure


def draw_recovery(curve: RecoveryCurve, decided: tuple[float, float], share: float) -> Figure:
    """Precision over recall of the hidden labels.

    Args:
        curve: of all classes pooled.
        decided: precision and recall of the decisions.
        share: of the positives, which is the precision of guessing.
    """
    figure, (axes,) = new_figure(4.6, 3.9)
    axes.plot(curve.recall, curve.precision, color=COLOURS['blue'], linewidth=1.9)
    axes.axhline(share, color=COLOURS['grey'], linewidth=1, linestyle='--')
    axes.text(0.01, share, 'guessing', fontsize=8, va='bottom')
    precision, recall = decided
    if np.isfinite(precision):
        axes.plot([recall], [precision], 'o', color=COLOURS['red'], markersize=6)
        axes.annotate('as decided', (recall, precision), xytext=(6, 5), textcoords='offset points', fontsize=8.5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    _finish(axes, 'recall of the hidden positives', 'precision')
    return figure


def draw_calibration(found: Reliability, calibrated: Reliability | None = None) -> Figure:
    """Share of positives against the mean score of each bin; below, how many labels are in each.

    Args:
        found: of the scores.
        calibrated: of the calibrated probabilities, if there are any: a second line.
    """
    figure, (axes,) = new_figure(4.6, 4.6)
    figure.delaxes(axes)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=COLOURS['grey'], linewidth=1, linestyle='--')
    lines = [(found, 'scores', 'blue', 'o-')]
    if calibrated is not None:
        lines.append((calibrated, 'calibrated', 'orange', 's--'))
    for measured, label, colour, style in lines:
        filled = measured.count > 0
        x, y = measured.score[filled], measured.positive[filled]
        axes.plot(x, y, style, label=label, color=COLOURS[colour], markersize=4.5, linewidth=1.6)
    if calibrated is not None:
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    bins, filled = len(found.count), found.count > 0
    below.bar((np.arange(bins) + 0.5) / bins, found.count, 0.92 / bins, color=COLOURS['blue'])
    if found.count.max() > 30 * found.count[filled].min():
        below.set_yscale('log')
        below.yaxis.set_minor_formatter(NullFormatter())
    for panel in (axes, below):
        panel.spines[['top', 'right']].set_visible(False)
        panel.tick_params(labelsize=8)
    _finish(axes, '', 'share of positives')
    _finish(below, 'score', 'labels')
    return figure


def _thin(values: np.ndarray, most: int = _MOST_POINTS) -> np.ndarray:
    """At most ``most`` means of neighbouring values, so that a long run makes no large page."""
    parts = np.array_split(values, min(most, max(len(values), 1)))
    return np.array([part.mean() for part in parts if len(part)])


def _series(rows: Sequence[dict], key: str, name: str, thin: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of one scalar."""
    pairs = [(row[key], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    x, y = np.array(pairs, np.float64).reshape(-1, 2).T
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    return (_thin(x), _thin(y)) if thin else (x, y)


def _finish(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.grid(color=COLOURS['faint'], linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    if axes.get_yscale() != 'log':
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if xlabel in ('iteration', 'epoch'):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.10g}'))  # plain numbers, no formulas
