"""From a spreadsheet with blanks and a folder of photographs to a completed spreadsheet."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from sarlp.apps.completion import Completion, complete_labels
from sarlp.apps.completion.complete import check_precision, check_processes
from sarlp.apps.completion.record import write_table
from sarlp.apps.completion.training import digest_of_settings
from sarlp.apps.spreadsheet_completion.backbones import Backbone, choose_backbone
from sarlp.apps.spreadsheet_completion.enough import check_enough
from sarlp.apps.spreadsheet_completion.folder import CompletionFolder
from sarlp.apps.spreadsheet_completion.report import format_report, format_summary
from sarlp.apps.spreadsheet_completion.result import CompletedSpreadsheet
from sarlp.apps.spreadsheets.csv_labels import ReadLabels, read_csv_labels, write_annotations
from sarlp.apps.spreadsheets.label_copies import COPIES_HEADER
from sarlp.apps.spreadsheets.label_source import write_labels_like_source
from sarlp.apps.spreadsheets.on_demand import OnDemand
from sarlp.datasets.multilabel import fold_of
from sarlp.datasets.nesting import leaves
from sarlp.engine import load_config
from sarlp.engine.config.options import read_options
from sarlp.engine.devices import AUTO, describe_device, use_device
from sarlp.engine.terminal import near
from sarlp.errors import UserError, shorten
from sarlp.io.files import atomic_write, digest_of_contents
from sarlp.labels import UNKNOWN
from sarlp.registry import TRANSFORMS
from sarlp.transforms import BadImageError

FOLDS = ((20, 1000), (10, 2000))  # and of how many photographs at most: their models take some minutes
FEWER_FOLDS = 5
_PARTS = {
    'labels': 'labels of the spreadsheet were edited, or are read otherwise',
    'images': 'other photographs',
    'contents': 'photographs were replaced',
    'groups': 'other photographs belong together',
    'folds': 'another number of folds',
    'settings': 'another config, or other options of it',
    'version': 'an earlier version of sarlp completed it',
}


def complete(
    labels: str | os.PathLike,
    photos: str | os.PathLike,
    out: str | os.PathLike | None = None,
    precision: float = 0.9,
    folds: int | None = None,
    config: str | os.PathLike | None = None,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    device: str | torch.device = AUTO,
    processes: int | None = 1,
    on_conflict: str = 'refuse',
    allow_missing: bool = False,
    include_unlabelled: bool = False,
    near_duplicates: str = 'together',
    **form: Any,
) -> CompletedSpreadsheet:
    """Fill in the blanks of a spreadsheet of labels, from photographs, as far as a precision can be promised.

    It is read and checked; a pretrained backbone is chosen; a model is trained for each fold of the photographs, and
    fills in those that it has not seen (:func:`~sarlp.complete_labels`, with folds); one more is trained on all of
    them, for other photographs. A call that was cut off goes on when it is repeated. The file itself stays as it is.

    Args:
        labels: the spreadsheet: CSV, .xlsx, .ods, or any other that ``sarlp convert labels`` reads.
        photos: folder of the images, to which the paths in it are relative.
        out: folder for all that is written; None for ``<labels>_completed`` beside the spreadsheet.
        precision: of what is filled in as yes, and least probability of each no; in [0.5, 1).
        folds: number of models that complete, at least 2. None takes the first of :data:`FOLDS` that is for so few
            photographs and leaves no fold without any, else :data:`FEWER_FOLDS`: where labels are few, a twentieth
            less teaches more than a tenth less.
        config: what is trained, a config for one's own data by name or file; None chooses one by what is on the
            machine.
        cfg_options: changes to it, as :func:`~sarlp.engine.config.options.read_options` takes them.
        device: of :func:`~sarlp.engine.devices.choose_device`.
        processes: how many folds are trained at a time, see :func:`~sarlp.complete_labels`.
        on_conflict, allow_missing, include_unlabelled, near_duplicates, form: how the spreadsheet is read, see
            :func:`~sarlp.apps.spreadsheets.csv_labels.convert_csv_labels`.

    Returns:
        The table, the model, the report and the files.

    Raises:
        UserError: an argument is out of range, the spreadsheet is not as it must be, too few labels are known, there is
            no backbone, or a file would be replaced that was not written here. Nothing is written then.
    """
    check_precision(precision)
    check_processes(processes)
    if folds is not None and folds < 2:
        raise UserError(f'folds must be at least 2, got {folds}')
    labels = Path(labels)
    folder = CompletionFolder(labels.with_name(f'{labels.stem}_completed') if out is None else out)
    device = use_device(device)
    read = read_csv_labels(labels, photos, on_conflict, allow_missing, include_unlabelled, near_duplicates, **form)
    observed = np.stack([*read.labels.values()])
    print(f'{read.describe()}\n{format_summary(read, observed)}', flush=True)
    folds = _number_of_folds(read, folds)
    check_enough(read, observed)
    backbone = Backbone(str(config), 'as asked for') if config is not None else choose_backbone()
    print(f'device: {describe_device(device)}\nmodel: {backbone.config}, {backbone.reason}')
    if backbone.better:
        print(f'what may be better: {backbone.better}')

    data = folder.path / 'data'
    options = {
        'data_root': str(data),
        **_keep_tokens(backbone.config, folder.path),
        **read_options(cfg_options),
    }
    cfg = load_config(backbone.config, options)  # what is wrong with it is told before anything is written
    _check_images(cfg, read)
    made_of = dict(
        labels=_digest_of_labels(read),
        images=sorted(read.labels),
        contents=digest_of_contents(read.folder.root / image for image in sorted(read.labels)),
        groups=read.groups,
        folds=folds,
        settings=digest_of_settings(cfg),
    )
    with folder.begun(made_of) as moved:
        if moved is not None:
            print(
                f'what was completed before is in {near(moved)} now, with what was reviewed of it, since this is '
                f'something else: {", ".join(_PARTS[name] for name in folder.changed)}'
            )
        write_annotations(read, data, seed=None)  # folds hold out images of both splits
        completion = complete_labels(
            backbone.config,
            None,
            folder.path / 'recovered.csv',
            'all',
            precision,
            folds,
            cfg_options=options,
            device=device,
            model_dir=folder.path / 'model',
            processes=processes,
        )
        assert completion.model is not None  # it was asked for
        model = completion.model
        name = f'{labels.stem}_completed{labels.suffix}'
        spreadsheet = folder.write(name, lambda path: _write_spreadsheet(completion, data, path, folder.path / name))
        files = {'spreadsheet': spreadsheet, 'report': folder.path / 'report.md', **completion.files}
        if read.contradicting:
            files['copies'] = folder.write(
                'contradicting_copies.csv', lambda path: write_table(path, COPIES_HEADER, read.contradicting)
            )
        commands = _commands(backbone.config, read_options(cfg_options), model, completion)
        report = format_report(read, observed, completion, backbone, files, commands)
        files['report'] = folder.write('report.md', lambda path: _write_text(path, report))
        review = shlex.join(['sarlp', 'review', near(completion.files['recovered'])])
        return CompletedSpreadsheet(completion, backbone.config, options, model, files, report, review)


def _commands(config: str, given: Mapping[str, Any], model: Path, completion: Completion) -> dict[str, str]:
    """What a person may do next, for a report, which may be read in any folder."""
    recovered, record = (str(completion.files[name].absolute()) for name in ('recovered', 'record'))
    predict = ['sarlp', 'predict', config, str(model.absolute()), 'NEW_PHOTOS', '--out', 'new_photos.csv']
    predict += ['--calibration', record]
    if given:
        predict += ['--cfg-options', *(f'{name}={value}' for name, value in given.items())]
    return {'review': shlex.join(['sarlp', 'review', recovered]), 'predict': shlex.join(predict)}


def _number_of_folds(read: ReadLabels, asked: int | None) -> int:
    """How many there are; each has images, which is seen to before any is trained."""

    def has_empty(number: int) -> bool:
        return len({fold_of(read.groups.get(image, image), number) for image in read.labels}) < number

    number = asked
    if number is None:
        images = len(read.labels)
        number = next((many for many, most in FOLDS if images <= most and not has_empty(many)), FEWER_FOLDS)
    if has_empty(number):
        together = len(set(read.groups.values())) + len(read.labels) - len(read.groups)
        if together == 1:
            raise UserError(
                f'{read.csv}: its {len(read.labels):,} images belong together, by a column or as they show the same, '
                'so that none can be held out. Add other photographs'
            )
        raise UserError(
            f'{read.csv}: {len(read.labels):,} images in {together:,} groups leave some of {number} folds without any; '
            'choose fewer by --folds, or add photographs'
        )
    return number


def _check_images(cfg: Config, read: ReadLabels) -> None:
    """See that every image decodes, before any model is trained: the fold that scores it may be the last."""
    load = TRANSFORMS.build(leaves(cfg.test_dataloader.dataset)[0].pipeline[0])

    def problem(image: str) -> str | None:
        try:
            load({'img_path': str(read.folder.root / image)})
        except BadImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = [said for said in pool.map(problem, read.labels) if said is not None]
    if found:
        raise UserError(f'{read.csv}: {len(found):,} images can not be read: {shorten(found)}. Or take their rows out')


def _digest_of_labels(read: ReadLabels) -> str:
    """Of what a spreadsheet says of its photographs, as it is read, in its order: not of colours, of columns that are
    left out, or of its bytes, which are others each time it is saved."""
    content = [read.file.classes, read.entries, read.splits]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _keep_tokens(config: str, folder: Path) -> dict[str, str]:
    """Where a config keeps tokens, to keep them in the folder."""
    return {'tokens.dir': str(folder / 'tokens')} if load_config(config).get('tokens') else {}


def _write_spreadsheet(completion: Completion, data: Path, path: Path, called: Path) -> None:
    unknown = completion.scored.observed == UNKNOWN
    filled = unknown & (completion.decisions != UNKNOWN)
    classes = completion.record.classes
    place = {image: row for row, image in enumerate(completion.scored.image_ids)}

    def notes_on(image: str) -> dict[str, str]:
        columns, probabilities = np.flatnonzero(filled[place[image]]).tolist(), completion.probabilities[place[image]]
        return {classes[column]: f'probability {probabilities[column]:.3g}' for column in columns}

    notes = OnDemand(place, notes_on)
    decided = dict(zip(completion.scored.image_ids, completion.decisions, strict=True))
    write_labels_like_source(decided, data, path, classes, notes, called)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text)
