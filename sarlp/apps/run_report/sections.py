"""The parts of the page: each takes what is there and returns what its template shows, or a note on what is absent."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sarlp.apps.completion import Calibration, Record, read_recovered, read_suspects, record_path, suspects_path
from sarlp.apps.dataset_report import draw_classes, draw_co_occurrence, draw_known, most_positive
from sarlp.apps.run_report import figures
from sarlp.apps.run_report.data import Split
from sarlp.apps.run_report.svg import to_svg
from sarlp.apps.run_report.workdir import Curves, HiddenLabels, Predictions
from sarlp.datasets.statistics import LabelCounts
from sarlp.errors import shorten
from sarlp.evaluation import average_precision, mean_average_precision
from sarlp.evaluation.measures import (
    precision_recall,
    recovery_curve,
    reliability,
)
from sarlp.labels import DECISIONS, POSITIVE, UNKNOWN


@dataclass
class Section:
    """One part of the page.

    Attributes:
        title: its heading; ``key`` is its anchor.
        text: paragraphs above.
        facts: name and value.
        figures: SVG and caption.
        notes: what is absent or doubtful, and the command that mends it, or ''.
        steps: what may be done besides, and its command.
        rows: lines of a table that the template knows by the key.
        folded: a summary, and text that is shown on demand.
    """

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[tuple[Markup, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    folded: tuple[str, str] | None = None

    def draw(self, figure, alt: str, caption: str) -> None:
        name = f'{self.key}{len(self.figures)}'
        self.figures.append((to_svg(figure, name, alt), caption))


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent; a dash for None and NaN."""
    return '–' if value is None or value != value else f'{100 * value:.{digits}f} %'


def command(*parts: object) -> str:
    return shlex.join(map(str, parts))


def data_section(train: Split | None, test: Split | None, problems: list[str]) -> Section:
    section = Section('data', 'Data', notes=[(problem, '') for problem in problems])
    for name, split in (('training', train), ('test', test)):
        if split is None:
            continue
        labels = split.observed if name == 'training' else split.measured()
        known, positive = labels != UNKNOWN, labels == POSITIVE
        section.facts += [
            (f'{name}: images', f'{len(split.image_ids):,}'),
            (f'{name}: known labels', f'{int(known.sum()):,}, {percent(float(known.mean()))} of all'),
            (f'{name}: positive among them', f'{int(positive.sum()):,}, {percent(_share(positive, known))}'),
        ]
    if train is not None:
        counts = train.counts()
        section.facts.insert(0, ('classes', f'{len(train.classes)}'))
        for kind in ('positive', 'negative'):
            if counts.without(kind):
                section.notes.append(
                    (f'without a known {kind} in training, so not to be learnt: {shorten(counts.without(kind))}', '')
                )
        chosen = most_positive(counts)
        few = '' if len(chosen) == len(counts.classes) else f', of the {len(chosen)} classes with the most positives'
        section.draw(
            draw_known(counts),
            f'Histogram of images by the share of their labels that is known; the mean is {percent(counts.known)}',
            'Training images by the share of their labels that is known.',
        )
        section.draw(
            draw_classes(counts, chosen),
            f'Bars of known positives, known negatives and unknown labels by class{few}',
            f'Labels of the training images by class, as the model sees them{few}.',
        )
        if len(chosen) > 1:
            section.draw(
                draw_co_occurrence([counts.classes[index] for index in chosen], *train.co_occurrence(chosen)),
                f'Matrix of how often one class is there where another is{few}',
                f'Classes that co-occur in the training images, in percent, as far as labels are known{few}.',
            )
    return section


def training_section(curves: Curves, resume: str) -> Section:
    section = Section('training', 'Training')
    if not curves.train and not curves.val:
        section.notes.append(('There is no scalars.json with a logged iteration; the run has to be trained:', resume))
        return section
    if curves.train:
        last = curves.train[-1]
        section.facts.append(('last logged', f'iteration {last["iter"]:,} in epoch {last.get("epoch", "–")}'))
        section.draw(
            figures.draw_training(curves),
            f'Loss and learning rate over {last["iter"]:,} iterations',
            'Loss, the mean of ten iterations, and learning rate.',
        )
    if curves.sessions > 1:
        section.facts.append(('sessions', f'{curves.sessions}; each goes on where it resumed from the one before'))
    best = curves.best()
    if best is None:
        section.notes.append(('No epoch was evaluated yet; let the training go on:', resume))
    else:
        section.facts.append(('best epoch', f'{best["step"]}, mAP {best["mAP"]:.1f} %'))
        section.draw(
            figures.draw_validation(curves),
            f'mAP and F1 over the epochs; the best mAP is {best["mAP"]:.1f} % in epoch {best["step"]}',
            'Metrics on the validation images after each epoch.',
        )
    return section


def classes_section(metrics: Mapping | None, train: LabelCounts | None, test: Split | None, how: str) -> Section:
    """A row a class, best first: name, AP in percent or None, known positives in training and test or None."""
    section = Section('classes', 'Classes')
    if metrics is None:
        section.notes.append(('There is no metrics.json:', how))
        return section
    known = {} if train is None else dict(zip(train.classes, train.positive.tolist(), strict=True))
    tested = {} if test is None else dict(zip(test.classes, (test.measured() == POSITIVE).sum(0).tolist(), strict=True))
    order = sorted(metrics['AP'].items(), key=lambda item: (item[1] is None, -(item[1] or 0), item[0]))
    section.rows = [(name, value, known.get(name), tested.get(name)) for name, value in order]
    section.text.append(
        'Average precision on the test images, best class first, beside the positives it was learnt from.'
    )
    return section


def recovery_section(hidden: HiddenLabels | None, masked: bool, how: str) -> Section:
    section = Section('recovery', 'Recovery of hidden labels')
    if hidden is None or not len(hidden.truth):
        if hidden is None and masked:
            section.notes.append(('There is no recovered_labels.csv:', how))
        else:
            section.notes.append(('No label with a known truth was hidden, so there is nothing to measure.', ''))
        return section
    decided = precision_recall(hidden.decision, hidden.truth)
    positive = int((hidden.truth == POSITIVE).sum())
    pooled = average_precision(hidden.scores[:, None], hidden.truth[:, None])[0]
    # of a class at a time, in the order of the file: to look for each among all takes classes times labels
    order = np.argsort(hidden.column, kind='stable')
    parts = np.split(order, np.searchsorted(hidden.column[order], np.arange(1, len(hidden.classes))))
    of_each = [average_precision(hidden.scores[part][:, None], hidden.truth[part][:, None])[0] for part in parts]
    by_class, _ = mean_average_precision(np.array(of_each))
    total = sum(decided)
    section.facts = [
        ('hidden labels', f'{len(hidden.truth):,}, of which {positive:,} are positive'),
        ('AP, mean over classes', percent(by_class)),
        ('AP, all labels pooled', percent(pooled)),
        ('precision as decided', percent(decided[0])),
        ('recall as decided', percent(decided[1])),
        ('F1 as decided', percent(2 * decided[0] * decided[1] / total if total > 0 else None)),
    ]
    section.text.append(
        'Labels of the training images that the mask hid from the model, against the truth; all classes are pooled in '
        'the curve.'
    )
    curve = recovery_curve(hidden.scores, hidden.truth)
    if curve is None:
        section.notes.append(('No hidden label is positive, so there is no curve.', ''))
    else:
        section.draw(
            figures.draw_recovery(curve, decided, positive / len(hidden.truth)),
            f'Precision over recall of the hidden labels; as decided, precision {percent(decided[0])} at recall '
            f'{percent(decided[1])}',
            'Precision over recall of the hidden labels, and where the decisions are.',
        )
    return section


def calibration_section(
    predictions: Predictions | None, labels: np.ndarray | None, fitted: Calibration | None, how: str
) -> Section:
    """``labels`` are the (N, C) ones of the predictions' images and classes, ``fitted`` what completed labels used."""
    section = Section('calibration', 'Calibration')
    if predictions is None:
        section.notes.append(('There is no predictions.csv:', how))
        return section
    if labels is None:
        section.notes.append(('The labels of the test images are not at hand; see Data.', ''))
        return section
    known = labels != UNKNOWN
    found = reliability(predictions.scores[known], labels[known])
    if found is None:
        section.notes.append(('No test image has a known label.', ''))
        return section
    section.facts = [
        ('known labels of the test images', f'{int(found.count.sum()):,}'),
        ('expected calibration error (ECE)', f'{found.ece:.4f}'),
        ('Brier score', f'{found.brier:.4f}'),
    ]
    calibrated = None
    if fitted is not None and set(fitted.classes) == set(predictions.classes):
        columns = [predictions.classes.index(name) for name in fitted.classes]
        scores, truth = predictions.scores[:, columns], labels[:, columns]
        calibrated = reliability(fitted.probabilities(scores)[truth != UNKNOWN], truth[truth != UNKNOWN])
    if calibrated is not None:
        section.facts += [
            ('ECE, calibrated', f'{calibrated.ece:.4f}'),
            ('Brier score, calibrated', f'{calibrated.brier:.4f}'),
        ]
    bins = len(found.count)
    section.text.append(
        f'Scores of all classes are pooled in {bins} bins of equal width. A point on the diagonal means that of the '
        'labels with such a score, that share is positive. ECE is the mean distance from the diagonal, each bin '
        'weighted by its labels; the Brier score is the mean squared difference of score and label. Both are 0 at best.'
    )
    section.draw(
        figures.draw_calibration(found, calibrated),
        'Share of positives over the mean score in each bin: '
        + ', '.join(
            f'{score:.2f} to {positive:.2f}'
            for score, positive, count in zip(found.score, found.positive, found.count, strict=True)
            if count
        ),
        'Above: share of positives against the score; below: how many labels have such a score.',
    )
    return section


def completion_section(file: Path, how: str) -> tuple[Section, Record | None]:
    """What ``sarlp recover`` decided, by class, and how good that is.

    Raises:
        UserError: the table is damaged, or its record or its suspects are missing or damaged.
    """
    section = Section('completion', 'Completed labels')
    if not file.is_file():
        section.steps.append(('To fill in the unknown labels of the training images is a step of its own:', how))
        return section, None
    record = Record.read(record_path(file))
    recovered, suspects = read_recovered(file), read_suspects(suspects_path(file))
    counts = Counter((row.cls, row.decision) for row in recovered)
    calibration = record.calibration
    section.rows = [
        (name, threshold if np.isfinite(threshold) else None, *(counts[name, word] for word in DECISIONS.values()))
        for name, threshold in zip(calibration.classes, calibration.thresholds, strict=True)
    ]
    decided = len(recovered) - sum(counts[name, DECISIONS[UNKNOWN]] for name in calibration.classes)
    section.text.append(
        f'Decisions of {file.name} at a precision of {calibration.precision:g}: a class is called positive where its '
        'calibrated probability reaches the threshold, and left undecided where neither answer is sure enough.'
    )
    section.facts = [
        ('unknown labels', f'{len(recovered):,}'),
        ('decided', f'{decided:,}, {percent(decided / len(recovered) if recovered else None)}'),
        ('known labels that the model contradicts', f'{len(suspects):,}'),
    ]
    for title, quality in (('expected', record.expected), ('measured', record.measured)):
        for kind, found in () if quality is None else ((kind, quality[kind]) for kind in ('positive', 'negative')):
            value = f'{percent(found["precision"])} at recall {percent(found["recall"])}'
            section.facts.append((f'{title} precision of {kind}', value))
    return section, record


def align(predictions: Predictions, split: Split) -> np.ndarray | None:
    """Rows of the split's images in the order of the predictions; None if those are of other images or classes."""
    if predictions.classes != split.classes:
        return None
    row = {name: index for index, name in enumerate(split.image_ids)}
    rows = [row.get(name, -1) for name in predictions.image_ids]
    return None if -1 in rows or len(set(rows)) != len(rows) else np.array(rows, int)


def stale(metrics: Mapping | None, checkpoint: str | None, run: str | None = None) -> str | None:
    """The name of the checkpoint that the results are of, if the best is by now another.

    Args:
        metrics: ``metrics.json``.
        checkpoint: the best one.
        run: the name of its run, if it is known: another run may have a checkpoint of the same name.
    """
    protocol = (metrics or {}).get('protocol') or {}
    tested, tested_run = protocol.get('checkpoint'), protocol.get('run')
    if tested is None or checkpoint is None:
        return None
    if None not in (run, tested_run) and run != tested_run:
        return f'{Path(tested).name} of another run, {tested_run}'
    return None if Path(tested).name == Path(checkpoint).name else Path(tested).name


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return int(part.sum()) / int(whole.sum()) if whole.any() else None
