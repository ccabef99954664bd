"""One page about one run."""

import contextlib
import datetime
import os
from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np
import torch
from mmengine.config import Config

from sarlp import __version__
from sarlp.apps.run_report.data import Split, read_split
from sarlp.apps.run_report.images import best_and_worst, draw_images
from sarlp.apps.run_report.sections import (
    Section,
    align,
    calibration_section,
    classes_section,
    command,
    completion_section,
    data_section,
    recovery_section,
    stale,
    training_section,
)
from sarlp.apps.run_report.settings import important
from sarlp.apps.run_report.workdir import (
    Predictions,
    best_checkpoint,
    read_config,
    read_curves,
    read_hidden,
    read_metrics,
    read_predictions,
)
from sarlp.engine.devices import AUTO
from sarlp.engine.records.run_record import read_record
from sarlp.engine.testing import hides_labels
from sarlp.errors import UserError
from sarlp.evaluation.measures import score_images
from sarlp.inference import init_model
from sarlp.io.files import atomic_write
from sarlp.io.outputs import check_output
from sarlp.labels import UNKNOWN

RESULTS = 'results'


def write_run_report(
    work_dir: str | os.PathLike,
    out: str | os.PathLike | None = None,
    results: str | os.PathLike | None = None,
    recovered: str | os.PathLike | None = None,
    device: str | torch.device = AUTO,
    images: int = 6,
) -> Path:
    """Write one self-contained HTML file about a run.

    What the work directory lacks is left out, and the page says which command makes it.

    Args:
        work_dir: of ``sarlp train``.
        out: the file; None for ``report.html`` in the work directory.
        results: folder that ``sarlp test --out`` wrote; None for ``results`` in the work directory.
        recovered: table of ``sarlp recover``; None for ``recovered.csv`` in the work directory.
        device: of :func:`~sarlp.engine.devices.choose_device`, for the model that draws the maps.
        images: how many of the best images and how many of the worst are drawn; 0 for none.

    Returns:
        The file.

    Raises:
        UserError: ``work_dir`` holds no run, ``recovered`` is not there, a file is damaged, or ``out`` is a file that
            is no such page.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f'{work_dir}: no such work directory')
    if images < 0:
        raise UserError(f'images must be at least 0, got {images}')
    out = work_dir / 'report.html' if out is None else Path(out)
    check_output(out, (), lambda path: b' by sarlp ' in path.read_bytes())
    results = work_dir / RESULTS if results is None else Path(results)
    if recovered is not None and not Path(recovered).is_file():
        raise UserError(f'{recovered}: no such file; sarlp recover writes it')
    recovered = work_dir / 'recovered.csv' if recovered is None else Path(recovered)
    page = render(**_collect(work_dir, results, recovered, device, images))
    with atomic_write(out) as file:
        file.write(page)
    return out


def render(**content) -> str:
    """The page; every text in it is escaped."""
    template = Path(__file__).with_name('page.html').read_text('utf-8')
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(**content).lstrip()


def _collect(work_dir: Path, results: Path, recovered: Path, device: str | torch.device, images: int) -> dict:
    config_file, cfg = read_config(work_dir)
    resume = command('sarlp', 'train', config_file, '--work-dir', work_dir, '--resume')
    test = command('sarlp', 'test', config_file, work_dir, '--work-dir', work_dir, '--out', results)
    complete = command(
        *('sarlp', 'recover', config_file, work_dir, '--split', 'train', '--precision', '0.9'),
        *('--out', recovered),
    )
    curves = read_curves(work_dir)
    checkpoint = best_checkpoint(work_dir)
    how = resume if checkpoint is None else test
    complete = resume if checkpoint is None else complete
    metrics = read_metrics(results / 'metrics.json')
    predictions = read_predictions(results / 'predictions.csv')

    problems: list[str] = []
    splits: dict[str, Split | None] = {}
    for name in ('train', 'test'):
        try:
            splits[name] = read_split(cfg, name)
        except UserError as error:
            splits[name] = None
            problems.append(str(error))
    train, tested = splits['train'], splits['test']
    if predictions is not None and tested is not None:
        with contextlib.suppress(UserError):  # that these are other classes is said below
            tested = tested.in_order(predictions.classes, 'predictions.csv')

    rows = None if predictions is None or tested is None else align(predictions, tested)
    labels = None if rows is None or tested is None else tested.measured()[rows]
    configuration = Section('configuration', 'Configuration', facts=important(cfg))
    configuration.folded = f'the whole config, {config_file.name}', cfg.pretty_text
    completion, record = completion_section(recovered, complete)
    calibration = calibration_section(predictions, labels, None if record is None else record.calibration, how)
    if predictions is not None and tested is not None and rows is None:
        calibration.notes = [('predictions.csv is of other images or classes than the test split; make it anew:', how)]
    sections = [
        configuration,
        data_section(train, tested, problems),
        training_section(curves, resume),
        classes_section(metrics, None if train is None else train.counts(), tested, how),
        recovery_section(
            read_hidden(results / 'recovered_labels.csv'),
            hides_labels(cfg) and cfg.get('recovery_evaluator') is not None,
            how,
        ),
        completion,
        calibration,
        _images_section(cfg, checkpoint, predictions, tested, rows, device, images, how),
    ]
    own = read_record(work_dir)
    outdated = stale(metrics, checkpoint, None if own is None else own.run)
    if outdated is not None and checkpoint is not None:
        note = f'The results are of {outdated}, but the best checkpoint is now {Path(checkpoint).name}; test it anew:'
        sections[3].notes.append((note, test))
    return {
        'title': _title(work_dir, cfg),
        'work_dir': str(work_dir),
        'checkpoint': None if checkpoint is None else Path(checkpoint).name,
        'made': f'{datetime.datetime.now():%Y-%m-%d %H:%M}',
        'version': __version__,
        'headline': _headline(metrics, curves.best(), dict(calibration.facts), train),
        'sections': sections,
    }


def _title(work_dir: Path, cfg: Config) -> str:
    folder = work_dir.resolve()
    return f'{folder.parent.name}, {folder.name}' if folder.name.startswith('seed') else folder.name


def _headline(metrics: Mapping | None, best: dict | None, calibration: Mapping, train: Split | None) -> list[tuple]:
    """Name, value and remark of the numbers that stand above everything."""
    cards = []

    def add(name: str, value: float | None, remark: str) -> None:
        if value is not None:
            cards.append((name, f'{value:.1f} %', remark))

    if metrics is not None:
        add('mAP', metrics.get('mAP'), 'of the test images')
        for name, remark in (('CF1', 'F1 by class'), ('OF1', 'F1 over all labels')):
            add(name, metrics.get(name), remark)
        recovery = metrics.get('recovery') or {}
        add('recovery AP', recovery.get('AP'), 'of the hidden labels')
    elif best is not None:
        add('mAP', best['mAP'], f'in epoch {best["step"]}, while training')
    if 'Brier score' in calibration:
        cards.append(('ECE', calibration['expected calibration error (ECE)'], 'calibration error, 0 is best'))
    if train is not None:
        add('known labels', 100 * float((train.observed != UNKNOWN).mean()), 'of the training images')
    return cards


def _images_section(
    cfg: Config,
    checkpoint: str | None,
    predictions: Predictions | None,
    split: Split | None,
    rows: np.ndarray | None,
    device: str | torch.device,
    number: int,
    how: str,
) -> Section:
    section = Section('images', 'Best and worst test images')
    if predictions is None or checkpoint is None:
        missing = 'predictions.csv' if predictions is None else 'checkpoint'
        section.notes.append((f'There is no {missing}:', how))
        return section
    if rows is None or split is None:
        section.notes.append(('The test images are not at hand, or not those of predictions.csv; see above.', ''))
        return section
    labels, scores = np.full_like(split.full, UNKNOWN), np.zeros(split.full.shape)
    labels[rows], scores[rows] = split.measured()[rows], predictions.scores
    scored = score_images(scores, labels)
    order = scored.order()
    section.text.append(
        'Images are ordered by how well their scores put the classes that are there before those that are not: by '
        'average precision over the classes whose label is known, and where that is equal by the log loss, the mean of '
        'minus the logarithm of the score given to the truth. Images without a known positive are left out '
        f'({len(predictions.image_ids) - len(order):,} of {len(predictions.image_ids):,}). Colours show where the '
        'model looked for the class, from blue to red.'
    )
    if not number or not len(order):
        return section
    model = init_model(cfg.copy(), checkpoint, device)
    try:
        split = split.in_order(model.classes, Path(checkpoint).name)
    except UserError as error:
        section.notes.append((f'No map is drawn: {error}', ''))
        return section
    threshold = (cfg.get('test_evaluator') or {}).get('threshold', 0.5)
    for heading, chosen in zip(('Best', 'Worst, the worst first'), best_and_worst(order, number), strict=True):
        drawn, unread = draw_images(model, split, scored, chosen, threshold)
        section.notes += [(line, '') for line in unread]
        if drawn:
            section.rows.append((heading, drawn))
    return section
