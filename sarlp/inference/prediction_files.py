"""Predictions as files: a table, JSON, or JSON lines, and figures of the images; written as they come.

A table has one row an image, since that is how labels are kept and what a spreadsheet sorts by: ``image``, ``classes``
(the chosen ones, highest first, a semicolon and a space between them), then the score of every class under its name.

JSON has the same as objects ``{"image": ..., "classes": {name: score, ...}, "scores": {name: score, ...}}``, one a line
in JSON lines, and in JSON as the list ``images`` beside ``config``, ``checkpoint``, ``calibrated`` and
``thresholds``, and ``unlike_training`` where the model is used unlike it was trained.
"""

import contextlib
import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sarlp.errors import UserValueError
from sarlp.inference.inferencer import MultiLabelInferencer, Prediction
from sarlp.io.files import atomic_write
from sarlp.io.image_files import ImageFile, as_text, find_images
from sarlp.io.json_file import plain, rounded
from sarlp.io.outputs import check_output, has_keys, is_table
from sarlp.io.pixels import read_rgb

if TYPE_CHECKING:
    from sarlp.visualization.figure_files import FigureFiles

_JOIN = '; '
OWN = {  # by the suffix, whether a file is an earlier output
    '.csv': is_table(['image', 'classes'], numbers_after=True),
    '.json': has_keys('calibrated', 'thresholds', 'images'),
    '.jsonl': has_keys('image', 'classes', 'scores', lines=True),
}
FORMS = tuple(OWN)


def write_predictions(
    inferencer: MultiLabelInferencer,
    inputs: Iterable[str | os.PathLike],
    out: str | os.PathLike,
    annotated: str | os.PathLike | None = None,
    about: dict[str, Any] | None = None,
    max_panels: int = 9,
    **options: Any,
) -> int:
    """Predict images and write what came out.

    Args:
        inferencer: the model.
        inputs: image files and folders.
        out: the file, whose suffix (.csv, .json, .jsonl) is its form. It is there when all of it is.
        annotated: folder for a figure an image with the maps of its classes, see
            :class:`~sarlp.visualization.figure_files.FigureFiles`. None draws none.
        about: further entries of the JSON object, such as the checkpoint.
        max_panels: at most so many maps a figure.
        options: of :meth:`~sarlp.inference.inferencer.MultiLabelInferencer.stream`.

    Returns:
        How many images were predicted.

    Raises:
        UserError: see :meth:`~sarlp.inference.inferencer.MultiLabelInferencer.stream`; another suffix; no image can be
            read; or something would be replaced that is no earlier output of the same kind.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in FORMS:
        parts = '; tables of Parquet are made in parts, by --shard 1/1 and --merge' if suffix == '.parquet' else ''
        raise UserValueError(f'{out}: expected a name that ends in {", ".join(FORMS)}{parts}')
    images = find_images(only_or_all(inputs))
    check_output(out, [image.path for image in images], OWN[suffix])
    figures = None
    if annotated is not None:
        from sarlp.visualization.figure_files import FigureFiles  # here: it brings matplotlib

        figures = FigureFiles(annotated, images)
    predictions = inferencer.stream(images, return_maps=figures is not None, **options)
    number = 0
    with atomic_write(out, newline='' if suffix == '.csv' else '\n') as file:
        writer = {'.csv': csv_rows, '.json': _json, '.jsonl': _json_lines}[suffix]
        with writer(file, inferencer, about or {}) as write:
            for prediction in predictions:
                write(prediction)
                if figures is not None:
                    _draw(prediction, inferencer.classes, figures, max_panels)
                number += 1
        if not number:
            raise UserValueError(f'{out}: not written, since none of the images can be read')
    return number


Write = Callable[[Prediction], None]


def only_or_all(inputs: Iterable[str | os.PathLike]) -> str | os.PathLike | list[str | os.PathLike]:
    """The only one by itself, whose images are named relative to it, or all in a list."""
    inputs = list(inputs)
    return inputs[0] if len(inputs) == 1 else inputs


@contextlib.contextmanager
def csv_rows(file: IO[str], inferencer: MultiLabelInferencer, about: dict[str, Any]) -> Iterator[Write]:
    """Write the header, and give what writes a row; ``file`` must leave ends of lines as they are."""
    rows = csv.writer(file)
    rows.writerow(['image', 'classes', *inferencer.classes])

    def write(prediction: Prediction) -> None:
        scores = (f'{score:.6g}' for score in prediction.scores.tolist())
        rows.writerow([as_text(str(prediction.image)), _JOIN.join(prediction.classes), *scores])

    yield write


@contextlib.contextmanager
def _json_lines(file: IO[str], inferencer: MultiLabelInferencer, about: dict[str, Any]) -> Iterator[Write]:
    yield lambda prediction: print(_record(prediction, inferencer.classes), file=file)


@contextlib.contextmanager
def _json(file: IO[str], inferencer: MultiLabelInferencer, about: dict[str, Any]) -> Iterator[Write]:
    changes: Any = inferencer.model.unlike_training
    head = {
        **about,
        **({'unlike_training': list(changes)} if changes else {}),
        'calibrated': inferencer.calibration is not None,
        'thresholds': dict(zip(inferencer.classes, plain(inferencer.thresholds), strict=True)),
    }
    file.write(f'{json.dumps(head, ensure_ascii=False, indent=1)[:-2]},\n "images": [')
    separator = '\n'

    def write(prediction: Prediction) -> None:
        nonlocal separator
        file.write(separator + _record(prediction, inferencer.classes))
        separator = ',\n'

    yield write
    file.write('\n]}\n')


def _record(prediction: Prediction, classes: tuple[str, ...]) -> str:
    scores = dict(zip(classes, (rounded(score) for score in prediction.scores.tolist()), strict=True))
    chosen = {name: scores[name] for name in prediction.classes}
    record = {'image': as_text(str(prediction.image)), 'classes': chosen, 'scores': scores}
    return json.dumps(record, ensure_ascii=False)


def _draw(prediction: Prediction, classes: tuple[str, ...], figures: 'FigureFiles', max_panels: int) -> None:
    from sarlp.visualization.attention import draw_figure, select_panels

    maps, path = prediction.maps, prediction.path
    assert maps is not None and path is not None  # of files, and asked for
    chosen = [classes.index(name) for name in prediction.classes]
    if chosen:  # by thresholds of their own, so that none is left to apply
        names = list(prediction.classes)
        panels = select_panels(
            prediction.scores[chosen], maps[chosen], names, threshold=-math.inf, max_panels=max_panels
        )
    else:
        panels = select_panels(prediction.scores, maps, classes, threshold=math.inf, max_panels=1)
    name = str(prediction.image)
    figure = draw_figure(read_rgb(path), panels, title=as_text(name))
    figures.save(figure, ImageFile(name, str(path)))
