"""A review of real files: what is known beside a label, what is exported, what is refused."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sarlp.apps.completion import record_path, suspects_path, write_completed
from sarlp.apps.review import Review
from sarlp.apps.spreadsheets.label_source import label_arrays
from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.registry import DATASETS

from .conftest import CLASSES, IMAGES, known, lines, name_of, read_sheet, truth

CODES = {'positive': 1, 'negative': 0, 'undecided': -1}


def before(image, cls):
    return int(truth(image, cls)) if known(image, cls) else -1


def test_known_labels(review):
    for index, item in enumerate(review.queue.items):
        image = [name_of(i) for i in range(IMAGES)].index(item.image)
        expected = [
            (name, before(image, c), False)
            for c, name in enumerate(CLASSES)
            if before(image, c) != -1 and name != item.cls
        ]
        assert review.known(index) == expected
    item = review.queue.items[0]
    other = next(index for index in review.queue.of_image(item.image) if index != 0)
    name = review.queue.items[other].cls
    review.decide(other, 0)
    assert (name, 0, True) in review.known(0)
    review.decide(other, -1)
    assert name not in [label.cls for label in review.known(0)]


@pytest.mark.parametrize('reviewed_only', [False, True])
def test_export(review, made, reviewed_only):
    """Each cell of the spreadsheet and each label of the files, by a loop over what should be there."""
    decided = {}
    for index in range(0, len(review.queue), 3):
        decided[review.queue.items[index].pair] = (1, 0, -1)[index // 3 % 3]
        review.decide(index, decided[review.queue.items[index].pair])
    suspect = len(made.recovered)  # the first suspect; the second one is left alone
    review.decide(suspect, 1 - review.queue.items[suspect].label)
    decided[review.queue.items[suspect].pair] = 1 - review.queue.items[suspect].label
    decided.pop(review.queue.items[suspect + 1].pair, None)
    review.decide(suspect + 1, None)

    exported = review.export(reviewed_only=reviewed_only)
    suggested = {row[:2]: CODES[row[3]] for row in made.recovered if row[3] != 'undecided'}
    expected = {}
    for image in range(IMAGES):
        for c, name in enumerate(CLASSES):
            pair = (name_of(image), name)
            code = before(image, c)
            if pair in decided:
                code = decided[pair]
            elif not reviewed_only and code == -1:
                code = suggested.get(pair, -1)
            expected[pair] = code
    assert exported.reviewed == len(decided)
    assert exported.suggested == (0 if reviewed_only else len(suggested.keys() - decided.keys()))
    assert exported.files.keys() == {'train', 'test', 'source'}
    assert all(path.parent == made.place.root / 'recovered_reviewed' for path in exported.files.values())

    classes, labels = label_arrays([exported.files['train'], exported.files['test']])
    assert classes == CLASSES
    assert {(image, name): row[c] for image, row in labels.items() for c, name in enumerate(classes)} == expected
    sheet = read_sheet(exported.files['source'])
    assert sheet[0] == made.sheet[0]
    for row, old in zip(sheet[1:], made.sheet[1:], strict=True):
        assert row[0] == old[0] and row[-1] == old[-1]
        assert row[1:4] == [{1: '1', 0: '0', -1: ''}[expected[row[0], name]] for name in CLASSES]


def test_suspect_made_unknown(review, made):
    index = len(made.recovered)
    item = review.queue.items[index]
    review.decide(index, -1)
    classes, labels = label_arrays([review.export(reviewed_only=True).files[split] for split in ('train', 'test')])
    assert labels[item.image][classes.index(item.cls)] == -1


def test_undecided_keeps_what_a_mask_hid(review, made):
    """Where the labels were hidden by a label mask, the spreadsheet has them, and keeps them."""
    image = name_of(1)
    assert known(1, 1) and truth(1, 1)
    rows = lines(made.table)
    quoted = CLASSES[1].replace('"', '""')
    review.close()
    made.table.write_text('\n'.join([*rows, f'{image},"{quoted}",0.5,undecided', '']), encoding='utf-8')
    record = json.loads(record_path(made.table).read_text('utf-8'))
    mask = dict(type='RandomKnownLabels', known_ratio=1e-9)
    masks = {'train': {'_delete_': True, **mask}, 'test': mask}
    record['cfg_options'] = {f'{split}_dataloader.dataset.label_mask': one for split, one in masks.items()}
    record_path(made.table).write_text(json.dumps(record), 'utf-8')
    again = Review(made.table)
    again.decide(again.queue.index_of((image, CLASSES[1])), -1)
    assert all(entry.cls != CLASSES[1] for entry in again.known(again.queue.of_image(image)[0]))
    row = next(row for row in read_sheet(again.export(reviewed_only=True).files['source']) if row[0] == image)
    assert row[2] == '1'
    again.close()


def test_what_became_known_since_stays(review, made):
    """A person filled in blanks after the completion; the reviewer's own answer is the last word nevertheless."""
    classes, labels = label_arrays(review.record.annotations.values())
    suggested = [item for item in review.queue.items if item.kind == 'suggested']
    answered, *later = suggested[:4]
    for file in review.record.annotations.values():
        content = json.loads(file.read_text('utf-8'))
        for entry in content['data_list']:
            for item in (answered, *later):
                if entry['img_path'] == item.image:
                    other = 'negative' if item.suggestion else 'positive'
                    entry[other] = sorted([*entry[other], classes.index(item.cls)])
        file.write_text(json.dumps(content), 'utf-8')
    review.decide(review.queue.index_of(answered.pair), answered.suggestion)
    exported = review.export()
    assert (exported.reviewed, exported.suggested) == (1, len(suggested) - 4)
    (note,) = exported.notes
    assert note.startswith('3 labels that the model decided are known since')
    _, after = label_arrays([exported.files['train'], exported.files['test']])
    sheet = {row[0]: row for row in read_sheet(exported.files['source'])}
    for item in suggested:
        expected = item.suggestion if item not in later else 1 - item.suggestion
        assert labels[item.image][classes.index(item.cls)] == -1
        assert after[item.image][classes.index(item.cls)] == expected
        assert sheet[item.image][1 + CLASSES.index(item.cls)] == str(expected)


def test_a_spreadsheet_that_was_saved_since(review, made):
    """What a person wrote into it after the completion is not in the export, which goes out from the copy of then."""
    file = Path(json.loads((Path(review.record.data_root) / 'labels' / 'source.json').read_text('utf-8'))['path'])
    assert review.export(reviewed_only=True).notes == ()
    before = file.read_bytes()
    file.write_bytes(before + b'\n')
    (note,) = review.export(reviewed_only=True).notes
    assert note.startswith(f'{file} was saved since it was read: ')
    file.unlink()
    assert review.export(reviewed_only=True).notes == ()
    file.write_bytes(before)


def test_what_lies_there_of_another_completion_is_told(review, made):
    """Of a split that is not completed now; and a spreadsheet of that name is a person's where it is of other data."""
    exported = review.export(reviewed_only=True)
    assert exported.notes == ()
    folder, before = exported.files['train'].parent, exported.files['test'].read_bytes()
    annotations = {'train': review.record.annotations['train']}
    only = replace(review.record, annotations=annotations)
    written = write_completed(only, {}, folder)
    (note,) = written.notes
    assert note.startswith(f'{folder / "test.json"}: of another completion, before this one')
    assert folder / 'test.json' not in written.files.values() and exported.files['test'].read_bytes() == before

    exported.files['train'].unlink()
    content = json.loads(before)
    content['metainfo']['source']['file'] = 'others.csv'
    (folder / 'test.json').write_text(json.dumps(content), 'utf-8')
    exported.files['source'].write_text('mine')
    with pytest.raises(UserError, match=r'labels\.csv: there is a file of this name that is no earlier output'):
        write_completed(only, {}, folder)
    assert exported.files['source'].read_text() == 'mine' and not exported.files['train'].exists()
    exported.files['source'].unlink()
    assert 'source' in write_completed(only, {}, folder).files


def test_next_training(review, made, tmp_path):
    """The command is read as tools/train.py reads it, and gives a data set of exactly the exported labels."""
    import argparse

    object.__setattr__(review.record, 'cfg_options', {
        'train_dataloader.dataset.label_mask.known_ratio': 0.3,
        'train_dataloader.num_workers': 0,
        'model.backbone.out_indices': (3,),
    })  # fmt: skip
    review.decide(0, 1)
    exported = review.export(tmp_path / 'new=1')
    words = shlex.split(exported.command)
    assert words[:4] == ['sarlp', 'train', str(made.place.root / 'config.py'), '--cfg-options']
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('--cfg-options', nargs='+', action='extend')
    args = parser.parse_args(words[2:])
    cfg = load_config(args.config, args.cfg_options)
    assert cfg.train_dataloader.num_workers == 0
    assert cfg.model.backbone.out_indices == (3,)
    cfg.train_dataloader.dataset.data_prefix = dict(img_path='data/photos')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    _, labels = label_arrays([exported.files['train']])
    assert len(dataset) == len(labels)
    for index in range(len(dataset)):
        image, observed, _, _ = dataset.get_labels(index)
        np.testing.assert_array_equal(observed, labels[image])
    assert str(cfg.val_dataloader.dataset.ann_file) == str(exported.files['test'].absolute())


@pytest.mark.parametrize('name', ['a folder', '(a)', 'a"b', "'[1]'"])
def test_odd_paths(review, tmp_path, name):
    exported = review.export(tmp_path / name)
    options = shlex.split(exported.command)[4:]
    cfg = load_config(review.record.config, options)
    assert cfg.train_dataloader.dataset.ann_file == str(exported.files['train'].absolute())


def test_path_that_options_can_not_hold(review, tmp_path):
    command = review.export(tmp_path / 'a,b').command
    assert all(line.startswith('# ') for line in command.splitlines())
    assert str(tmp_path / 'a,b') in command


def test_images_outside(review, made, tmp_path):
    (tmp_path / 'secret.png').write_bytes(b'')
    photos = made.root / 'photos'
    (photos / 'link.png').symlink_to(tmp_path / 'secret.png')
    (photos / 'inside.png').symlink_to(photos / name_of(0))
    for image in ('../secret.png', 'link.png', str(tmp_path / 'secret.png'), 'sub dir/../../../secret.png'):
        with pytest.raises(UserError, match='leads out of the folder of the images'):
            review.image_path(image)
    assert review.image_path('inside.png') == (photos / name_of(0)).resolve()


def test_labels_that_are_no_longer_listed(review, made):
    review.decide(0, 1)
    review.decide(1, 0)
    review.close()
    rows = lines(made.table)
    made.table.write_text('\n'.join([rows[0], *rows[2:], '']), encoding='utf-8')
    with pytest.warns(UserWarning, match=r'1 decisions are on labels that recovered\.csv does not list'):
        again = Review(made.table)
    assert again.queue.decision(0) == 0
    assert again.export(reviewed_only=True).reviewed == 1
    assert again.undo(2) == [0]
    assert again.undo(1) == []
    assert again.log.decided == {}
    again.close()


def test_without_suspects_and_annotations(made):
    suspects_path(made.table).unlink()
    shutil.rmtree(made.root / 'labels')
    review = Review(made.table)
    assert len(review.queue) == len(made.recovered)
    assert 'there is no such annotation file' in review.known_missing
    assert review.known(0) == []
    review.close()


def test_refusals(made):
    rows = lines(made.table)
    made.table.write_text('\n'.join([*rows, rows[1], '']), encoding='utf-8')
    with pytest.raises(UserError, match=r'recovered\.csv: the label .* is listed twice; write it anew'):
        Review(made.table)
    made.table.with_suffix('.json').unlink()
    with pytest.raises(UserError, match=r'recovered\.json: no such file'):
        Review(made.table)


def test_tool_exports_beside_a_running_review(review, made, capsys):
    review.decide(0, 1)
    run = made.place.run
    run('review_labels.py', made.table, '--export', made.place.out, '--reviewed-only')
    printed = capsys.readouterr().out
    assert '1 labels by the reviewer, 0 by the model' in printed
    assert f'ann_file={made.place.out}/trainval.json' in printed
    item = review.queue.items[0]
    classes, labels = label_arrays([made.place.out / 'trainval.json', made.place.out / 'test.json'])
    assert labels[item.image][classes.index(item.cls)] == 1
    run('review_labels.py', made.table, '--export')
    assert json.loads((made.place.root / 'recovered_reviewed' / 'trainval.json').read_text(encoding='utf-8'))
    with pytest.raises(SystemExit) as exit_:
        run('review_labels.py', made.table, '--port', '0')
    assert exit_.value.code == 1
    assert 'another review of this file is running' in capsys.readouterr().err
