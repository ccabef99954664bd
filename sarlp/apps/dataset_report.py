"""Figures of what is known in a data set: labels by class, classes that co-occur, images by share of known labels.

No state of pyplot is read or changed.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sarlp.datasets.annotation import load_annotation, put_in_order
from sarlp.datasets.statistics import LabelCounts, co_occurrences, count_labels, summary
from sarlp.errors import shorten
from sarlp.io.files import atomic_write
from sarlp.io.outputs import check_output, is_table
from sarlp.visualization.attention import font_families
from sarlp.visualization.figure_files import is_figure, save_named

MOST_CLASSES = 40  # that a figure shows: those with the most known positives
_FIGURES = ('classes', 'co_occurrence', 'known')
_MARK = 'data set'
_HEADER = ('class', 'positive', 'negative', 'unknown', 'ignored')
# told apart with any colour vision, and in grey
_COLOURS = {'positive': '#0072B2', 'negative': '#E69F00', 'unknown': '#D9D9D9'}


def write_dataset_report(ann_files: Sequence[str | os.PathLike], out: str | os.PathLike) -> dict[str, Path]:
    """Print the counts of annotation files, taken together, and draw them.

    Args:
        ann_files: annotation files of the same classes, such as the splits of a data set.
        out: folder for the figures.

    Returns:
        ``'classes'``, ``'co_occurrence'`` and ``'known'``: the PNG files. Beside them goes ``classes.csv``, with the
        counts of all classes.

    Raises:
        UserError: a file is not as it must be, the files have different classes, or a file would be replaced that is
            no earlier figure of a data set.
    """
    files = {name: Path(out) / f'{name}.png' for name in _FIGURES}
    for file in files.values():
        check_output(file, (), is_figure(_MARK))
    table = Path(out) / 'classes.csv'
    check_output(table, (), is_table(_HEADER))
    read = [load_annotation(file) for file in ann_files]
    classes = read[0][0]['classes']
    data_list: list[dict] = []
    for ann_file, (metainfo, entries) in zip(ann_files, read, strict=True):
        data_list += put_in_order(metainfo['classes'], entries, classes, ann_file, ann_files[0])
    counts = count_labels(classes, data_list)
    print(f'{", ".join(map(str, ann_files))}: {summary({"classes": classes}, data_list)}')
    shares = np.quantile(counts.known_share, (0, 0.25, 0.5, 0.75, 1))
    print('known labels of an image, minimum to maximum by quarters: ' + ', '.join(f'{share:.1%}' for share in shares))
    for kind in ('positive', 'negative'):
        if counts.without(kind):
            print(f'classes without a known {kind}, which cannot be learnt: {shorten(counts.without(kind))}')

    chosen = most_positive(counts)
    drawn = (
        draw_classes(counts, chosen),
        draw_co_occurrence([classes[index] for index in chosen], *co_occurrences(data_list, len(classes), chosen)),
        draw_known(counts),
    )
    for file, figure in zip(files.values(), drawn, strict=True):
        save_named(figure, file, _MARK)
    with atomic_write(table, newline='') as written:
        writer = csv.writer(written)
        writer.writerow(_HEADER)
        columns = (getattr(counts, kind).tolist() for kind in _HEADER[1:])
        writer.writerows(zip(counts.classes, *columns, strict=True))
    print(f'\nwritten to {out}: {", ".join(file.name for file in (*files.values(), table))}')
    return files


def most_positive(counts: LabelCounts, most: int = MOST_CLASSES) -> list[int]:
    """Ids of the classes with the most known positives, most first; equal ones in the order of their ids."""
    return np.argsort(-counts.positive, kind='stable')[:most].tolist()


def draw_classes(counts: LabelCounts, chosen: Sequence[int]) -> Figure:
    """A bar a class: how many images it is known to be in, known not to be in, and unknown in.

    Args:
        counts: of the data set.
        chosen: ids of the classes to draw, from above.
    """
    figure, axes = _figure((7.2, 1.3 + 0.24 * len(chosen)))
    chosen = list(chosen)
    rows, left = np.arange(len(chosen)), np.zeros(len(chosen))
    for kind, colour in _COLOURS.items():
        width = getattr(counts, kind)[chosen]
        axes.barh(rows, width, left=left, height=0.75, color=colour, label=kind)
        left += width
    for row, index in enumerate(chosen):
        axes.text(left[row], row, f' {counts.positive[index]:,}', va='center', fontsize=8, color=_COLOURS['positive'])
    axes.invert_yaxis()
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xlim(0, len(counts.known_share) * 1.08)
    axes.set_xlabel('images; the number is that of the positive ones')
    _name(axes.set_yticks, rows, [counts.classes[index] for index in chosen])
    figure.legend(loc='outside upper center', ncols=len(_COLOURS), frameon=False)
    _title(axes, f'{len(chosen)} of {len(counts.classes)} classes', len(chosen) < len(counts.classes))
    return figure


def draw_co_occurrence(names: Sequence[str], both: np.ndarray, known: np.ndarray) -> Figure:
    """Classes that co-occur: how often that of the column is there where that of the row is.

    Args:
        names: K class names.
        both, known: (K, K), see :func:`~sarlp.datasets.statistics.co_occurrences`. Cells without a known label are
            blank.
    """
    number = len(names)
    figure, axes = _figure((3.0 + 0.27 * number, 2.4 + 0.27 * number))
    with np.errstate(invalid='ignore'):
        share = np.ma.masked_invalid(both / known)  # of nothing known, nothing
    picture = axes.imshow(share, cmap='viridis', vmin=0, vmax=1)
    axes.set_facecolor('white')
    _name(axes.set_xticks, np.arange(number), names, rotation=90)
    _name(axes.set_yticks, np.arange(number), names)
    if number <= 20:
        for row, column in np.argwhere(known > 0):
            colour = 'black' if share[row, column] > 0.6 else 'white'
            text = f'{100 * share[row, column]:.0f}'
            axes.text(column, row, text, ha='center', va='center', fontsize=7, color=colour)
    axes.set_xlabel('… how often this one is there too, where known')
    axes.set_ylabel('in images with this class …')
    figure.colorbar(picture, ax=axes, shrink=0.7)
    return figure


def draw_known(counts: LabelCounts) -> Figure:
    """Histogram of images by the share of their labels that is known."""
    figure, axes = _figure((6.4, 3.2))
    steps = min(len(counts.classes), 20)
    # a bar for each possible share where they are few; rounding to the middle of a bar keeps shares off its edges
    images = np.bincount(np.rint(counts.known_share * steps).astype(int), minlength=steps + 1)
    axes.bar(np.arange(steps + 1) / steps, images, 0.9 / steps, color=_COLOURS['positive'])
    axes.axvline(counts.known, color='black', linewidth=1, linestyle='--')
    axes.text(counts.known, 1.0, f' mean {counts.known:.1%}', transform=axes.get_xaxis_transform(), va='bottom')
    axes.set_xlabel('share of the labels of an image that is known')
    axes.set_ylabel('images')
    axes.set_xlim(-0.5 / steps, 1 + 0.5 / steps)
    return figure


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _name(set_ticks, positions: np.ndarray, names: Sequence[str], **style) -> None:
    """Class names at an axis; long ones are cut, and a dollar sign in one starts no formula."""
    short = [name if len(name) <= 28 else f'{name[:27]}…' for name in names]
    set_ticks(positions, short, family=font_families(), fontsize=8, parse_math=False, **style)


def _title(axes: Axes, text: str, shown: bool) -> None:
    if shown:
        axes.set_title(f'{text}, those with the most known positives', fontsize=9, loc='left')
