"""The whole way from a half-filled spreadsheet to a filled one, with a model that knows next to nothing."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from scipy.special import expit

from sarlp.apps.completion import (
    Record,
    complete,
    complete_labels,
    read_recovered,
    read_suspects,
    scoring,
    write_completed,
)
from sarlp.apps.completion.record import check_outputs, find_recovered
from sarlp.apps.completion.report import format_completion
from sarlp.apps.completion.training import FINISHED
from sarlp.apps.completion.truth import read_truth
from sarlp.apps.completion.writing import completed_files
from sarlp.apps.spreadsheets.label_source import label_arrays
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.multilabel import fold_of
from sarlp.engine import load_config, read_checkpoint
from sarlp.errors import UserError
from sarlp.inference import Predictor, init_model
from sarlp.registry import DATASETS

from .conftest import CONFIG, cells

FILES = ('labels/trainval.json', 'labels/test.json')
WORDS = {1: 'yes', 0: 'no', -1: ''}
CODES = {'positive': 1, 'negative': 0, 'undecided': -1}


@pytest.fixture(scope='module')
def completion(options, checkpoint, scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp('out') / 'recovered.csv'
    truth = scenes / 'labels_complete.csv'
    return complete_labels(
        CONFIG, checkpoint, out, 'all', 0.6, cfg_options=options, truth=truth, calibration='temperature'
    )


@pytest.fixture(scope='module')
def informed(options, checkpoint, scenes, tmp_path_factory):
    """As from a model that knows much: the truth, blurred."""
    truth = cells(scenes / 'labels_complete.csv')

    def score(model, loader, description):
        found = scoring.score(model, loader, description)
        rng = np.random.default_rng(len(found.image_ids))
        signal = [
            [{'yes': 2, 'no': -2, '': 0}[truth[image][name]] for name in model.classes] for image in found.image_ids
        ]
        return replace(found, scores=expit(signal + rng.normal(0, 1.3, found.scores.shape)).astype(np.float32))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('sarlp.apps.completion.complete.score', score)
        out = tmp_path_factory.mktemp('informed') / 'recovered.csv'
        file = scenes / 'labels_complete.csv'
        return complete_labels(CONFIG, checkpoint, out, 'all', 0.8, cfg_options=options, truth=file, suspect=0.2)


@pytest.fixture(scope='module')
def known(mine):
    return label_arrays([mine / file for file in FILES])


def test_every_unknown_label_has_one_line(completion, known):
    classes, labels = known
    lines = read_recovered(completion.files['recovered'])
    found = {(line.image, line.cls) for line in lines}
    assert len(found) == len(lines)
    assert found == {(i, classes[c]) for i, codes in labels.items() for c in np.flatnonzero(codes == -1)}
    assert {line.decision for line in lines} <= CODES.keys()


@pytest.mark.parametrize(
    'protocol',
    [{'label_fold': dict(part='train', number=3)}, {'holdout': dict(part='train', share=0.3)}],
    ids=['held-out labels', 'held-out images'],
)
def test_what_selected_the_epoch_is_known_and_completed_all_the_same(
    protocol, options, checkpoint, known, tmp_path, monkeypatch
):
    (name, value) = next(iter(protocol.items()))
    options = {**options, f'train_dataloader.dataset.{name}': value}
    classes, labels = known
    unknown = {(i, classes[c]) for i, codes in labels.items() for c in np.flatnonzero(codes == -1)}
    done = complete_labels(CONFIG, checkpoint, tmp_path / 'a.csv', 'all', 0.5, cfg_options=options)
    assert {(line.image, line.cls) for line in read_recovered(done.files['recovered'])} == unknown
    _, after = label_arrays([done.files['train'], done.files['test']])
    assert all((after[i][codes != -1] == codes[codes != -1]).all() for i, codes in labels.items())

    seen = {}

    def no_training(cfg, dataset, *rest):
        data = DATASETS.build(dataset)
        seen.update({image: observed for image, observed, *_ in map(data.get_labels, range(len(data)))})
        return Path(checkpoint)

    monkeypatch.setattr('sarlp.apps.completion.folds.train_to_the_end', no_training)
    done = complete_labels(CONFIG, None, tmp_path / 'b.csv', 'all', 0.5, 2, cfg_options=options)
    assert {(line.image, line.cls) for line in read_recovered(done.files['recovered'])} == unknown
    assert all((seen[i] == codes).all() for i, codes in labels.items()) and seen.keys() == labels.keys()


def test_probabilities_are_those_of_the_model(completion, options, checkpoint, scenes):
    model = init_model(load_config(CONFIG, options), checkpoint)
    lines = [line for line in read_recovered(completion.files['recovered']) if line.image == '000007.jpg']
    scores = Predictor(model)(scenes / 'JPEGImages' / '000007.jpg')['scores']
    p = completion.record.calibration.probabilities(scores[None])[0]
    decisions = completion.record.calibration.decide(p[None])[0]
    assert lines
    for line in lines:
        c = model.classes.index(line.cls)
        assert line.probability == pytest.approx(p[c], rel=1e-4)
        assert CODES[line.decision] == decisions[c]


def test_known_labels_stay_and_decisions_are_filled_in(informed, scenes, known):
    classes, labels = known
    decided = {(line.image, line.cls): CODES[line.decision] for line in read_recovered(informed.files['recovered'])}
    assert set(decided.values()) == {-1, 0, 1}
    before, after = cells(scenes / 'labels.csv'), cells(informed.files['source'])
    _, arrays = label_arrays([informed.files['train'], informed.files['test']])
    assert list(before) == list(after)
    for image, row in after.items():
        for c, name in enumerate(classes):
            code = decided.get((image, name), labels[image][c])
            assert arrays[image][c] == code
            assert row[name] == WORDS[code]
            assert before[image][name] in ('', row[name])


def test_the_quality_that_is_printed_is_that_against_the_complete_spreadsheet(informed, scenes):
    truth = cells(scenes / 'labels_complete.csv')
    decided = [line for line in read_recovered(informed.files['recovered']) if truth[line.image][line.cls]]
    assert informed.record.measured['labels'] == len(decided)
    for word, right in (('positive', 'yes'), ('negative', 'no')):
        chosen = [truth[line.image][line.cls] == right for line in decided if line.decision == word]
        quality = informed.record.measured[word]
        assert (quality['decided'], quality['right']) == (len(chosen), sum(chosen))
    text = format_completion(informed)
    assert f'measured on {len(decided):,} unknown labels' in text and str(informed.files['source']) in text


def test_suspects_are_known_labels_that_the_model_contradicts(informed, known):
    classes, labels = known
    suspects = read_suspects(informed.files['suspects'])
    p = dict(zip(informed.scored.image_ids, informed.probabilities, strict=True))
    expected = {
        (image, classes[c], 'positive' if code else 'negative')
        for image, codes in labels.items()
        for c, code in enumerate(codes)
        if code >= 0 and (p[image][c] if code else 1 - p[image][c]) <= 0.2
    }
    assert expected and {(s.image, s.cls, s.label) for s in suspects} == expected
    assert [s.doubt for s in suspects] == sorted((s.doubt for s in suspects), reverse=True)


def test_the_record_goes_to_and_fro(completion, checkpoint, scenes, mine):
    record = Record.read(completion.files['record'])
    assert record.img_root == scenes / 'JPEGImages' and record.data_root == mine
    assert record.checkpoint_of('000001.jpg') == Path(checkpoint)
    np.testing.assert_equal(record.measured, completion.record.measured)
    np.testing.assert_equal(record.expected, completion.record.expected)
    assert record.classes == completion.record.classes
    assert record.load_config().model == completion.record.load_config().model


def test_the_record_of_a_moved_folder_leads_to_what_was_moved_with_it(completion, options, tmp_path):
    """Not to what has taken its place since: what was completed before is moved aside by the next completion."""
    was, now = tmp_path / 'labels_completed', tmp_path / 'labels_completed' / 'earlier_1'
    inside = dict(
        cfg_options={**options, 'data_root': str(was / 'data'), 'tokens.dir': str(was / 'tokens')},
        data_root=was / 'data',
        annotations={'train': was / 'data/train.json'},
        checkpoints=[was / 'fold0/a.pth'],
    )
    for folder in (was, now):
        for name in ('data/train.json', 'fold0/a.pth'):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).touch()
    replace(completion.record, **inside).write(was / 'recovered.json')
    assert Record.read(was / 'recovered.json').annotations == inside['annotations']
    (was / 'recovered.json').rename(now / 'recovered.json')
    record = Record.read(now / 'recovered.json')
    assert record.data_root == now / 'data' and record.annotations == {'train': now / 'data/train.json'}
    assert record.checkpoints == [now / 'fold0/a.pth']
    assert record.cfg_options['data_root'] == str(now / 'data')
    assert record.cfg_options['tokens.dir'] == str(was / 'tokens')  # which stay
    assert (record.img_root, record.config) == (completion.record.img_root, completion.record.config)


@pytest.mark.parametrize(
    'change', [{'version': 2}, {'checkpoints': []}, {'annotations': 3}, {'config': None}, {'folds': 'x'}]
)
def test_a_damaged_record(completion, tmp_path, change):
    content = json.loads(completion.files['record'].read_text('utf-8'))
    (tmp_path / 'a.json').write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=r'a\.json'):
        Record.read(tmp_path / 'a.json')


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('a.jpg,zero,0.5', 'line 3: expected 4 cells'),
        ('a.jpg,zero,1.5,positive', r'line 3: expected a probability in \[0, 1\]'),
        ('a.jpg,zero,nan,positive', 'line 3: expected a probability'),
        ('a.jpg,zero,0.5,perhaps', "line 3: expected one of positive, negative, undecided, found 'perhaps'"),
        ('"a.jpg,zero,0.5,positive', 'does not parse'),
    ],
)
def test_a_damaged_table(tmp_path, line, reason):
    file = tmp_path / 'a.csv'
    file.write_text(f'image,class,probability,decision\nb.jpg,zero,0.25,undecided\n{line}\n')
    with pytest.raises(UserError, match=rf'a\.csv.*{reason}'):
        read_recovered(file)
    file.write_text('image,probability\n')
    with pytest.raises(UserError, match=r'a\.csv: expected the columns image, class'):
        read_recovered(file)
    with pytest.raises(UserError, match=r'b\.csv: no such file'):
        read_recovered(tmp_path / 'b.csv')


def test_what_was_killed_in_between_is_no_mixture_of_two(completion, tmp_path, monkeypatch):
    """Decisions of one completion with the thresholds of another would be reviewed, exported and predicted with."""
    replace_file = os.replace

    def kill(source, target):
        replace_file(source, target)
        if Path(target).name == 'recovered.csv':
            raise KeyboardInterrupt

    def write():
        found = completion.record, completion.scored, completion.probabilities, completion.decisions
        return complete._write(*found, completion.suspects, tmp_path / 'recovered.csv')

    write()
    monkeypatch.setattr(os, 'replace', kill)
    with pytest.raises(KeyboardInterrupt):
        write()
    monkeypatch.undo()
    with pytest.raises(UserError, match=r'recovered\.json: no such file; sarlp recover writes it'):
        Record.read(tmp_path / 'recovered.json')
    assert Record.read(write()['record']).classes == completion.record.classes


@pytest.mark.parametrize('first', ['train', 'test'])
def test_a_split_and_then_both(completion, tmp_path, first):
    """Into the same files, as of one that was repeated; a spreadsheet of a person's own is never replaced."""
    record = completion.record
    (tmp_path / 'labels.csv').write_text('my own')
    alone = replace(record, annotations={first: record.annotations[first]})
    with pytest.raises(UserError, match=r'labels\.csv: there is a file of this name that is no earlier output'):
        write_completed(alone, {}, tmp_path)
    (tmp_path / 'labels.csv').unlink()
    written = write_completed(alone, {}, tmp_path).files
    assert {**write_completed(record, {}, tmp_path).files, **written} == completed_files(
        record.annotations, record.data_root, tmp_path
    )


def test_changes_of_strangers_are_refused(completion, tmp_path):
    with pytest.raises(UserError, match='no completed split: nobody.jpg'):
        write_completed(completion.record, {'nobody.jpg': {'zero': 1}}, tmp_path)
    with pytest.raises(UserError, match="'ten'"):
        write_completed(completion.record, {'000001.jpg': {'ten': 1}}, tmp_path)
    with pytest.raises(UserError, match=r'nobody\.jpg.*Complete the labels anew'):
        write_completed(completion.record, {}, tmp_path, suggested={'nobody.jpg': {'zero': 1}})
    assert not any(tmp_path.iterdir())  # all of it is looked at before the first file


def test_the_calibration_says_of_which_model_it_is(completion, checkpoint):
    meta = read_checkpoint(checkpoint)['meta']
    found = Record.read(completion.files['record']).calibration
    assert found.model == f'run {meta["run"]}, epoch 1, iter {meta["iter"]}'


@pytest.mark.parametrize('share', [0.0, 0.2, 1.0])
def test_a_truth_that_contradicts_what_is_known(share, scenes, options, checkpoint, known, tmp_path):
    header, *rows = (scenes / 'labels_complete.csv').read_text('utf-8').splitlines()
    swapped = {'yes': 'no', 'no': 'yes'}
    wrong = rows[: round(share * len(rows))]
    lines = [','.join(swapped.get(cell, cell) for cell in row.split(',')) for row in wrong] + rows[len(wrong) :]
    truth = tmp_path / 'truth.csv'
    truth.write_text('\n'.join([header, *lines]), 'utf-8')

    def complete():
        return complete_labels(CONFIG, checkpoint, tmp_path / 'a.csv', 'all', 0.6, cfg_options=options, truth=truth)

    complete_cells = cells(scenes / 'labels_complete.csv')  # blank for a difficult one, which no metric counts
    classes, labels = known
    counted = {
        i: sum(codes[c] >= 0 and complete_cells[i][n] != '' for c, n in enumerate(classes))
        for i, codes in labels.items()
    }
    compared, number = sum(counted.values()), sum(counted[row.split(',')[0]] for row in wrong)
    if share == 1:
        with pytest.raises(UserError, match=rf'truth\.csv: contradicts {number:,} of the {compared:,} known labels'):
            complete()
        return
    completion = complete()
    assert [completion.record.measured[key] for key in ('contradicted', 'compared')] == [number, compared]
    said = f'note: the truth contradicts {number:,} of the {compared:,} known labels that it has too.'
    assert (said in format_completion(completion)) == (number > 0)


def test_labels_that_the_model_was_trained_on_calibrate_nothing(options, checkpoint, mine, tmp_path):
    trained = len(load_annotation(mine / FILES[0])[1])
    mixed = tmp_path / 'test.json'  # as after another conversion: those of the training, and one of the others
    (_, seen), (_, unseen) = (load_annotation(mine / file) for file in FILES)
    dump_annotation(mixed, load_annotation(mine / FILES[0])[0]['classes'], [*seen, unseen[0]])
    changed = options | {'test_dataloader.dataset.ann_file': str(mixed)}
    with pytest.raises(UserError, match=rf'was trained on {trained} of the {trained + 1} images of .*test\.json, by'):
        complete_labels(CONFIG, checkpoint, tmp_path / 'out.csv', 'test', 0.6, cfg_options=changed)
    assert not (tmp_path / 'out.csv').exists()


def test_out_of_fold(options, scenes, known, tmp_path, capsys):
    def complete(**changes):
        arguments = dict(split='all', precision=0.6, folds=3, cfg_options=options, calibration='temperature')
        return complete_labels(CONFIG, None, tmp_path / 'oof.csv', **(arguments | changes))

    completion = complete()
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].startswith('fold 3 of 3: training') and printed[-1].startswith('fold 3 of 3: epoch 1/1  loss ')
    assert all(re.match(r'fold \d of 3: (training in|epoch 1/1|warning:) ', line) for line in printed), printed
    assert sum('epoch 1/1' in line for line in printed) == 3
    record = completion.record
    assert len(record.calibration.kind) == 64 and not record.calibration.model  # for a model of all images, too
    assert sorted(completion.scored.image_ids) == sorted(known[1])
    folds = [fold_of(image, 3) for image in completion.scored.image_ids]
    assert folds == sorted(folds) and set(folds) == {0, 1, 2}
    for index in range(3):
        image = completion.scored.image_ids[folds.index(index)]
        assert record.checkpoint_of(image) == tmp_path / 'oof_folds' / f'fold{index}' / 'epoch_1.pth'
        model = init_model(record.load_config(), record.checkpoint_of(image))
        scores = Predictor(model)(record.img_root / image)['scores']
        np.testing.assert_allclose(completion.scored.scores[folds.index(index)], scores, rtol=1e-4)
    _, labels = known
    assert completion.held_out == sum((codes >= 0).sum() for codes in labels.values())

    # what is trained is not trained again; a fold that is missing is
    (tmp_path / 'oof_folds' / 'fold1' / FINISHED).unlink()
    (tmp_path / 'oof_folds' / 'fold1' / 'epoch_1.pth').unlink()
    (tmp_path / 'oof_folds' / 'fold1' / 'last_checkpoint').unlink()
    again = complete()
    printed = capsys.readouterr().out
    assert 'fold 1 of 3: trained before' in printed and 'fold 2 of 3: training' in printed
    assert np.array_equal(again.scored.scores, completion.scored.scores)
    with pytest.raises(UserError, match='trained with another config'):
        complete(cfg_options={**options, 'optim_wrapper.optimizer.lr': 1.0})
    image = scenes / 'JPEGImages' / '000001.jpg'
    content = image.read_bytes()
    image.write_bytes((scenes / 'JPEGImages' / '000002.jpg').read_bytes())
    try:
        with pytest.raises(UserError, match='trained with another config, on other labels or images'):
            complete()
    finally:
        image.write_bytes(content)


def test_a_fold_is_trained_without_its_images(mine):
    def images(part, index):
        fold = dict(part=part, index=index, number=3)
        dataset = dict(type='MultiLabelDataset', data_root=str(mine), ann_file=FILES[0], fold=fold)
        dataset['data_prefix'] = dict(
            img_path=load_config(CONFIG, {'data_root': str(mine)}).train_dataloader.dataset.data_prefix.img_path
        )
        dataset = DATASETS.build(dataset)
        return {dataset.get_labels(index)[0] for index in range(len(dataset))}

    everything = {entry['img_path'] for entry in load_annotation(mine / FILES[0])[1]}
    folds = [images('fold', index) for index in range(3)]
    assert set.union(*folds) == everything and sum(map(len, folds)) == len(everything)
    for index, fold in enumerate(folds):
        assert images('rest', index) == everything - fold


@pytest.mark.parametrize(
    'fold',
    [dict(part='x', index=0, number=2), dict(part='fold', index=2, number=2), dict(part='fold', index=0, number=1)],
)
def test_bad_folds(mine, fold):
    with pytest.raises(UserError, match='fold must have'):
        DATASETS.build(
            dict(
                type='MultiLabelDataset',
                data_root=str(mine),
                ann_file=FILES[0],
                fold=fold,
                data_prefix=dict(
                    img_path=str(
                        load_config(CONFIG, {'data_root': str(mine)}).train_dataloader.dataset.data_prefix.img_path
                    )
                ),
            )
        )


def test_labels_hidden_by_a_mask_are_completed_and_measured(scenes, options, checkpoint, tmp_path):
    """The protocol of the field: complete labels, of which the mask shows half."""
    options = options | {'data_root': str(scenes), 'train_dataloader.dataset.label_mask.known_ratio': 0.5}
    with pytest.raises(UserError, match=r'another label mask than the config has \(none -> one\)'):
        complete_labels('sarlp_r18_digits_p0.1', checkpoint, tmp_path / 'a.csv', cfg_options=options)
    content = read_checkpoint(checkpoint)
    del content['meta']['cfg']  # as one that does not say what it was trained on
    torch.save(content, tmp_path / 'model.pth')
    completion = complete_labels(
        'sarlp_r18_digits_p0.1',
        tmp_path / 'model.pth',
        tmp_path / 'a.csv',
        precision=0.6,
        cfg_options=options,
        calibration='temperature',
    )
    dataset = DATASETS.build({**load_config('sarlp_r18_digits_p0.1', options).train_dataloader.dataset, 'pipeline': []})
    labels = label_arrays([completion.files['train']])[1]
    hidden = 0
    for index in range(len(dataset)):
        image, observed, full, ignore = dataset.get_labels(index)
        assert (labels[image][observed >= 0] == observed[observed >= 0]).all()
        hidden += ((observed < 0) & ~ignore).sum()
    assert completion.record.measured['labels'] == hidden > 200
    assert 'source' not in completion.files


def test_truth_from_an_annotation_file_is_that_from_the_spreadsheet(scenes):
    classes, images = ('two', 'zero', 'nine'), ['000003.jpg', '000001.jpg', 'nobody.jpg']
    sheet = read_truth(scenes / 'labels_complete.csv', scenes / 'JPEGImages', classes, images)
    annotation = read_truth(
        scenes / 'labels' / 'trainval.json', scenes, classes, [f'JPEGImages/{name}' for name in images]
    )
    assert np.array_equal(sheet, annotation) and (sheet[:2] >= 0).any() and (sheet[2] == -1).all()
    with pytest.raises(
        UserError, match=r'labels_complete\.csv has 10 classes, the data set has 2; only the latter has ten'
    ):
        read_truth(scenes / 'labels_complete.csv', scenes / 'JPEGImages', ('two', 'ten'), images)


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (dict(split='val'), 'train, test, all'),
        (dict(precision=1.0), r'\[0.5, 1\)'),
        (dict(suspect=0.5), r'\[0, 0.5\)'),
        (dict(folds=3), 'not both'),
        (dict(checkpoint=None), 'not both'),
        (dict(checkpoint=None, folds=1), 'at least 2'),
        (dict(checkpoint=None, folds=3, split='test'), 'complete the split train or all'),
        (dict(out='a.json'), r'ending in \.csv'),
        (dict(truth='nowhere.csv'), 'nowhere.csv'),
        (dict(cfg_options=['lr=0.5']), 'nothing reads lr'),
    ],
)
def test_arguments_out_of_range(options, checkpoint, tmp_path, arguments, reason):
    arguments = dict(checkpoint=checkpoint, out=tmp_path / 'a.csv', cfg_options=options) | arguments
    with pytest.raises((UserError, OSError), match=reason):
        complete_labels(CONFIG, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_class_out_of_reach_is_named(informed):
    thresholds = np.where(np.arange(10) == 3, np.inf, informed.record.calibration.thresholds)
    record = replace(informed.record, calibration=replace(informed.record.calibration, thresholds=thresholds))
    text = format_completion(replace(informed, record=record))
    assert record.classes[3] in next(line for line in text.splitlines() if 'nothing is called positive in' in line)


@pytest.mark.parametrize(
    ('right', 'decided', 'told'), [(4, 4, 'no evidence'), (970, 1000, None), (1, 4, 'not reached')]
)
def test_what_few_decisions_prove_is_told(informed, right, decided, told):
    found = dict(right=right, decided=decided, effective=decided, precision=right / decided)
    positive = informed.record.expected['positive'] | found
    record = replace(informed.record, expected={**informed.record.expected, 'positive': positive})
    record = replace(record, calibration=replace(record.calibration, precision=0.9))
    text = format_completion(replace(informed, record=record))
    assert f'{right} of {decided:,} right, 95 % interval' in text
    assert [words for words in ('no evidence', 'not reached') if words in text] == [told] * bool(told)


def test_tables_that_a_spreadsheet_program_saved_again(tmp_path):
    text = 'image,class,probability,decision\n1.jpg,caf\u00e9,0.25,negative\n'
    (tmp_path / 'recovered.csv').write_text(text, encoding='utf-8-sig')  # with a byte-order mark
    assert read_recovered(tmp_path / 'recovered.csv') == [('1.jpg', 'caf\u00e9', 0.25, 'negative')]


def test_a_suspect_tells_whether_the_model_was_trained_on_it(informed):
    """The model of a checkpoint was trained on the training split, whatever is said of the other."""
    kept = read_suspects(informed.files['suspects'])
    splits = {
        entry['img_path']: name
        for name, file in informed.record.annotations.items()
        for entry in load_annotation(file)[1]
    }
    assert {splits[s.image] for s in kept} == {'train', 'test'}
    for s in kept:
        assert s.evidence == ('in sample' if splits[s.image] == 'train' else 'held out')
    number = sum(splits[s.image] == 'train' for s in kept)
    assert f'note: of these {number} are labels that the model was trained on' in format_completion(informed)


def test_the_doubt_is_how_far_the_score_is(informed):
    suspects = read_suspects(informed.files['suspects'])
    scores = {
        (image, name): score
        for image, row in zip(informed.scored.image_ids, informed.scored.scores, strict=True)
        for name, score in zip(informed.record.classes, row, strict=True)
    }
    assert len({suspect.label for suspect in suspects}) == 2
    for suspect in suspects:
        score = scores[suspect.image, suspect.cls]
        assert suspect.doubt == pytest.approx(1 - score if suspect.label == 'positive' else score, abs=1e-6)


def test_suspects_of_an_earlier_version(tmp_path):
    file = tmp_path / 'recovered_suspects.csv'
    file.write_text('image,class,label,probability\n1.jpg,cat,negative,0.97\n')
    (found,) = read_suspects(file)
    assert found == ('1.jpg', 'cat', 'negative', 0.97, None, '')
    check_outputs(tmp_path / 'recovered.csv', [])  # one's own, to be written anew
    file.write_text('image,class,label,probability,doubt,evidence\n1.jpg,cat,negative,0.97,0.9,fold 1 of 3\n')
    check_outputs(tmp_path / 'recovered.csv', [])
    assert read_suspects(file) == [('1.jpg', 'cat', 'negative', 0.97, 0.9, 'fold 1 of 3')]
    file.write_text('image,class,label,probability,doubt,evidence\n1.jpg,cat,negative,0.97,far,fold 1 of 3\n')
    with pytest.raises(UserError, match="line 2: expected a probability.*'far'"):
        read_suspects(file)
    file.write_text('image,class,label,probability,remark\n1.jpg,cat,negative,0.97,mine\n')
    with pytest.raises(UserError, match='no earlier output'):
        check_outputs(tmp_path / 'recovered.csv', [])


def test_suspects_are_out_of_fold(options, mine, tmp_path):
    """The model that the evidence of a suspect names gives its probability, and was trained on none of its group."""
    root, groups = tmp_path / 'grouped', {}
    shutil.copytree(mine, root)
    for file in FILES:
        metainfo, entries = load_annotation(root / file)
        names = [entry['img_path'] for entry in entries]
        own = {name: f'{file} {index // 3}' for index, name in enumerate(names)}  # three photographs of a scene
        groups |= own
        dump_annotation(root / file, metainfo.pop('classes'), entries, **metainfo | {'groups': own})
    options = options | {'data_root': str(root)}
    completion = complete_labels(
        CONFIG, None, tmp_path / 'a.csv', 'all', 0.6, 3, 'temperature', suspect=0.49, cfg_options=options
    )
    suspects = read_suspects(completion.files['suspects'])
    assert len({s.evidence for s in suspects}) == 3
    for index in range(3):
        trained = Config.fromfile(next((tmp_path / 'a_folds' / f'fold{index}').glob('*.py')))
        dataset = DATASETS.build({**trained.train_dataloader.dataset, 'pipeline': []})
        seen = {groups[dataset.get_labels(i)[0]] for i in range(len(dataset))}
        assert seen < {*groups.values()}
        own = [s for s in suspects if s.evidence == f'fold {index + 1} of 3']
        model = init_model(completion.record.load_config(), tmp_path / 'a_folds' / f'fold{index}' / 'epoch_1.pth')
        for s in own:
            assert groups[s.image] not in seen
        s = own[0]
        scores = Predictor(model)(completion.record.img_root / s.image)['scores']
        p = completion.record.calibration.probabilities(scores[None])[0, model.classes.index(s.cls)]
        assert s.probability == pytest.approx(p, rel=1e-3)
    assert 'in sample' not in format_completion(completion) and 'trained on, and what' not in format_completion(
        completion
    )


def test_a_table_is_found_by_its_folder_and_nothing_else_is_taken_for_it(tmp_path):
    (tmp_path / 'labels.xlsx').touch()
    for name in (tmp_path, tmp_path / 'labels.xlsx', tmp_path / 'none.csv'):
        with pytest.raises(UserError, match=f'{name}: expected recovered.csv, or the folder that holds it'):
            find_recovered(name)
    (tmp_path / 'recovered.csv').touch()
    assert find_recovered(tmp_path) == find_recovered(tmp_path / 'recovered.csv') == tmp_path / 'recovered.csv'
