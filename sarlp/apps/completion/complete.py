"""Fill in the labels that nobody knows: probabilities, decisions at a precision, suspects."""

import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from sarlp.apps.completion.folds import score_out_of_fold
from sarlp.apps.completion.record import (
    EVIDENCE_HEADER,
    HEADER,
    SUSPECTS_HEADER,
    Record,
    Recovered,
    Suspect,
    check_outputs,
    record_path,
    suspects_path,
    write_table,
)
from sarlp.apps.completion.scoring import Scored, score, stack
from sarlp.apps.completion.suspects import can_be_judged, evidence_of, find_suspects
from sarlp.apps.completion.truth import count_contradictions, read_truth
from sarlp.apps.completion.union import union_of
from sarlp.apps.completion.writing import completed_files, write_completed
from sarlp.apps.processes import BELOW_MAIN
from sarlp.apps.spreadsheets.on_demand import OnDemand
from sarlp.datasets.annotation import load_annotation
from sarlp.datasets.groups import groups_in
from sarlp.datasets.nesting import (
    annotation_path,
    annotation_paths,
    classes_of,
    image_folder,
    leaves,
    name_files,
    whole,
)
from sarlp.engine import load_config, read_checkpoint
from sarlp.engine.config.options import read_options
from sarlp.engine.devices import AUTO, choose_device
from sarlp.engine.records.provenance import images_seen, origin_of, require_hidden
from sarlp.engine.testing import loader_for_testing, require_test_loader
from sarlp.errors import UserError, shorten
from sarlp.evaluation.quality import decision_quality
from sarlp.evaluation.thresholds import calibrate
from sarlp.inference import init_model
from sarlp.labels import DECISIONS, UNKNOWN
from sarlp.paths import find_config
from sarlp.registry import DATASETS

SPLITS = {'train': ('train',), 'test': ('test',), 'all': ('train', 'test')}
MEASURED_AT = (0.8, 0.9, 0.95)  # precisions asked for, where there is a truth to measure against


@dataclass(frozen=True, repr=False)
class Completion:
    """What was found, and where it was written.

    Attributes:
        record: calibration, expected and, where there is a truth, measured quality.
        scored: the images that were completed.
        probabilities: (N, C) calibrated, of known labels too.
        decisions: (N, C) int8 of 1 / 0 / -1; of known labels what is known.
        suspects: of :func:`~sarlp.apps.completion.suspects.find_suspects`.
        not_judged: number of known labels that can be no suspects, see
            :func:`~sarlp.apps.completion.suspects.can_be_judged`.
        held_out: number of known labels that probabilities and thresholds rest on.
        files: ``'recovered'``, ``'suspects'``, ``'record'``, and of
            :func:`~sarlp.apps.completion.writing.write_completed`.
        model: checkpoint of a model of all images, where one was asked for.
    """

    record: Record
    scored: Scored
    probabilities: np.ndarray
    decisions: np.ndarray
    suspects: list[Suspect]
    not_judged: int
    held_out: int
    files: Mapping[str, Path]
    model: Path | None

    def __repr__(self) -> str:  # in a notebook; that of a dataclass is full of arrays
        return f'<{type(self).__name__} {self.files["recovered"]}: {self.summary}>'

    @property
    def summary(self) -> str:
        """How much was unknown, and how much is left, in a line."""
        unknown = self.scored.observed == UNKNOWN
        decided = int((unknown & (self.decisions != UNKNOWN)).sum())
        images, classes = unknown.shape
        return f'{decided:,} of {unknown.sum():,} unknown labels decided, of {images:,} images and {classes:,} classes'


def complete_labels(
    config: str | Path,
    checkpoint: str | Path | None,
    out: str | os.PathLike,
    split: str = 'train',
    precision: float = 0.9,
    folds: int | None = None,
    calibration: str = 'auto',
    suspect: float = 0.02,
    truth: str | os.PathLike | None = None,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    device: str | torch.device = AUTO,
    model_dir: Path | None = None,
    processes: int | None = 1,
) -> Completion:
    """Complete the labels of a data set, and write them.

    Without ``folds`` the model of ``checkpoint`` scores all images, and probabilities and thresholds are fitted on the
    known labels of the test split, which it was not trained on. It was trained on the images of the training split,
    though, and may be surer of them than of new ones; nor does it contradict what it learnt by heart, so that suspects
    there may be fewer, and say of themselves that their evidence is in sample. With ``folds`` each image is scored by a
    model that was trained without it, and all its known labels are there for fitting.

    Args:
        config: file or name.
        checkpoint: file; None with ``folds``, which train their own models.
        out: ``recovered.csv``; the other files go beside it, under its stem.
        split: whose labels to complete, ``'train'``, ``'test'`` or ``'all'``.
        precision: of the positive decisions, in [0.5, 1); and least probability of each negative one.
        folds: number of models to train, at least 2, or None.
        calibration: ``'auto'``, ``'temperature'`` or ``'isotonic'``.
        suspect: a known label is suspect if the model gives it at most this probability, in [0, 0.5).
        truth: file of complete labels to measure against, an annotation file or any file that ``csv_labels.py`` reads;
            None takes what a label mask hides, if the config has one.
        cfg_options: changes to the config, as :func:`~sarlp.engine.config.options.read_options` takes them.
        device: of :func:`~sarlp.engine.devices.choose_device`, for scoring.
        model_dir: with ``folds``, work directory of one model more, of all images; None for none.
        processes: with ``folds``, how many are trained at a time, see
            :func:`~sarlp.apps.completion.folds.score_out_of_fold`. With more than one, what a script does has to stand
            below ``if __name__ == '__main__':``, since each process reads the script.

    Raises:
        UserError: an argument is out of range, a file does not fit, too few labels are known, or a file would be
            replaced that no earlier completion wrote.
    """
    if split not in SPLITS:
        raise UserError(f'the split must be one of {", ".join(SPLITS)}, got {split!r}')
    check_precision(precision)
    if not 0 <= suspect < 0.5:
        raise UserError(f'the probability of a suspect must be in [0, 0.5), got {suspect}')
    if (folds is None) == (checkpoint is None):
        raise UserError('give a checkpoint, or a number of folds, which train models of their own; not both')
    check_processes(processes)
    if folds is not None and (folds < 2 or split == 'test'):
        raise UserError(f'folds must be at least 2, and complete the split train or all; got {folds} and {split!r}')
    out = Path(out)
    if out.suffix.lower() != '.csv':
        raise UserError(f'--out must be a file ending in .csv, got {out}')
    cfg = load_config(config, cfg_options)  # before they are read, since only what was typed is checked
    cfg_options = read_options(cfg_options)
    datasets = {name: whole(cfg[f'{name}_dataloader'].dataset) for name in SPLITS[split]}
    completed = _completed_splits(datasets)
    first = next(iter(completed.values()))
    img_root = image_folder(first).absolute()
    data_root = Path(first.get('data_root') or '').absolute()
    annotations = {name: annotation_path(leaf).absolute() for name, leaf in completed.items()}
    for file in annotations.values():  # a missing file is told before anything takes time
        load_annotation(file)
    given = (find_config(config), checkpoint, truth, *annotations.values())
    check_outputs(out, [file for file in given if file is not None])
    completed_files(annotations, data_root, _labels_dir(out))
    device = choose_device(device)

    if checkpoint is not None:
        require_test_loader(cfg)
        model = init_model(cfg.copy(), checkpoint, device)
        classes = model.classes
        checkpoints, origin, model_of_all = [Path(checkpoint)], origin_of(model.meta), None
        unseen = datasets.get('test') or cfg.test_dataloader.dataset
        _require_unseen(cfg, checkpoint, model.meta, unseen)
        by_split = {name: score(model, loader_for_testing(cfg, datasets[name]), name) for name in datasets}
        images = {name: part.image_ids for name, part in by_split.items()}
        held_out = by_split.get('test') or score(model, loader_for_testing(cfg, unseen), 'test')
        scored = stack([by_split[name] for name in datasets])
    else:
        assert folds is not None  # one of the two is given, see above
        folder = folds_dir(out)
        dataset = union_of(datasets, folder) if len(datasets) > 1 else datasets['train']
        classes = classes_of(dataset)
        scored, checkpoints, model_of_all = score_out_of_fold(
            cfg, dataset, folds, folder, device, model_dir=model_dir, processes=processes
        )
        held_out = scored
        origin = origin_of(read_checkpoint(checkpoints[0])['meta'])._replace(model='')
        images = {'all': scored.image_ids}
    labelled = annotation_paths(cfg.test_dataloader.dataset) if checkpoint is not None else annotations.values()
    group_of = groups_in(labelled)
    groups = [group_of.get(image, image) for image in held_out.image_ids]
    given_labels = held_out.scores, held_out.observed, scored.pool(), classes
    scored_alike = folds is not None or split == 'test'  # else the unknown ones are of images it was trained on
    fitted, expected = calibrate(*given_labels, precision, calibration, groups, scored_alike)
    fitted = replace(fitted, **origin._asdict())

    complete = scored.truth if truth is None else read_truth(truth, img_root, classes, scored.image_ids)
    contradicted = {} if truth is None else count_contradictions(complete, scored.observed, truth)
    probabilities = fitted.probabilities(scored.scores)
    unknown = scored.observed == UNKNOWN
    decisions = np.where(unknown, fitted.decide(probabilities), scored.observed)
    hidden = np.where(unknown, complete, UNKNOWN)
    measured, measured_at = None, {}
    if (hidden != UNKNOWN).any():
        measured = decision_quality(probabilities, decisions, hidden) | contradicted
        for asked in MEASURED_AT:
            other, _ = calibrate(*given_labels, asked, calibration, groups, scored_alike)
            decided = other.decide(other.probabilities(scored.scores))
            measured_at[f'{asked:g}'] = decision_quality(probabilities, decided, hidden)
    record = Record(
        config=find_config(config).absolute(),
        cfg_options=cfg_options,
        data_root=data_root,
        img_root=img_root,
        annotations=annotations,
        checkpoints=[Path(path).absolute() for path in checkpoints],
        folds=folds,
        fold_seed=0,
        calibration=fitted,
        expected=expected,
        measured=measured,
        measured_at=measured_at,
    )
    evidence = evidence_of(record, images)
    of_known = replace(fitted, shift=0.0).probabilities(scored.scores)
    judged = ~unknown
    if folds is not None:
        judged = can_be_judged(scored.observed, np.array([record.fold_of(image) for image in scored.image_ids]))
    suspects = find_suspects(scored, of_known, classes, suspect, evidence, judged)
    files = _write(record, scored, probabilities, decisions, suspects, out)
    return Completion(
        record,
        scored,
        probabilities,
        decisions,
        suspects,
        int((~unknown & ~judged).sum()),
        int((held_out.observed != UNKNOWN).sum()),
        files,
        model_of_all,
    )


def _require_unseen(cfg: Config, checkpoint: str | Path, meta: Mapping, dataset: Mapping) -> None:
    """See that a model was not trained on what its scores are calibrated on, or its decisions measured on."""
    require_hidden(meta, cfg, checkpoint)
    images = DATASETS.build(loader_for_testing(cfg, dataset).dataset)
    if seen := images_seen(meta, images):
        raise UserError(
            f'{checkpoint}: was trained on {len(seen):,} of the {len(images):,} images of {name_files(dataset)}, by '
            'whose known labels the probabilities are to be fitted, so that they would look better than they are: '
            f'{shorten([images.image_id(place) for place in seen])}. If the data were converted anew after the '
            'training, train anew, or take --folds 5'
        )


def check_precision(precision: float) -> None:
    """Raises: UserError, it is no precision to ask for."""
    if not 0.5 <= precision < 1:
        raise UserError(f'the precision must be in [0.5, 1), got {precision}')


def check_processes(processes: int | None) -> None:
    """Raises: UserError, it is no number of them, or they would begin others as they begin."""
    if processes is not None and processes < 1:
        raise UserError(f'the number of processes must be at least 1, got {processes}')
    if getattr(multiprocessing.current_process(), '_inheriting', False):  # reading the script of the process before
        raise UserError(f'this script is read by a process that it began. {BELOW_MAIN}')


def folds_dir(out: Path) -> Path:
    """Where the folds of a ``recovered.csv`` are trained, and :data:`~.union.UNION` lies."""
    return out.with_name(f'{out.stem}_folds')


def _labels_dir(out: Path) -> Path:
    return out.with_name(f'{out.stem}_labels')


def _completed_splits(datasets: Mapping[str, Mapping]) -> dict[str, Mapping]:
    """The data set config of each split; completed labels go back into one annotation file each, in one folder."""
    completed = {}
    for name, dataset in datasets.items():
        if len(leaves(dataset)) > 1:
            raise UserError(
                f'{name}_dataloader.dataset is made of {len(leaves(dataset))} data sets ({name_files(dataset)}), and '
                'completed labels go back into one annotation file; complete each by itself: '
                f'--cfg-options data_root=... in a config whose {name}_dataloader has that one alone'
            )
        (completed[name],) = leaves(dataset)
    roots = {image_folder(leaf).absolute(): name for name, leaf in completed.items()}
    if len(roots) > 1:
        raise UserError(
            f'the images of the splits lie in {" and in ".join(map(str, roots))}; complete one split at a time'
        )
    return completed


def _write(record: Record, scored: Scored, probabilities, decisions, suspects, out: Path) -> dict[str, Path]:
    unknown = scored.observed == UNKNOWN
    decided = unknown & (decisions != UNKNOWN)
    place = {image: row for row, image in enumerate(scored.image_ids)}

    def rows() -> Iterator[Recovered]:
        for row, image in enumerate(scored.image_ids):
            columns = np.flatnonzero(unknown[row])
            told = probabilities[row, columns].tolist(), decisions[row, columns].tolist()
            for column, p, code in zip(columns.tolist(), *told, strict=True):
                yield Recovered(image, record.classes[column], p, DECISIONS[code])

    def decided_of(image: str) -> dict[str, int]:
        row = place[image]
        return {record.classes[column]: int(decisions[row, column]) for column in np.flatnonzero(decided[row])}

    suggested = OnDemand([image for image, any_ in zip(place, decided.any(axis=1), strict=True) if any_], decided_of)
    record_path(out).unlink(missing_ok=True)  # that of an earlier one, with whose thresholds this table is another
    completed = write_completed(record, {}, _labels_dir(out), suggested=suggested)
    for note in completed.notes:
        warnings.warn(note, stacklevel=2)
    write_table(suspects_path(out), (*SUSPECTS_HEADER, *EVIDENCE_HEADER), suspects)
    write_table(out, HEADER, rows())
    record.write(record_path(out))  # last: where it is, the others are
    return {'recovered': out, 'suspects': suspects_path(out), 'record': record_path(out), **completed.files}
