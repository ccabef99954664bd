"""The epoch selected by held-out known labels, and the test set measured beside it."""

import json
import re

import pytest

from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.nesting import leaves
from sarlp.engine import build_runner, load_config, testing
from sarlp.engine.records.run_record import read_record
from sarlp.errors import UserError

from .conftest import reduced

NAME = 'baseline_r18_digits_held_out_labels_p0.1'


@pytest.fixture
def make(digits, tmp_path):
    def make(work='work', **options):
        options = {**reduced(digits, 'baseline'), 'work_dir': str(tmp_path / work), **options}
        return load_config(NAME, options)

    return make


def test_the_held_out_labels_follow_the_training(make):
    cfg = make(**{'train_dataloader.dataset.label_fold.index': 3, 'train_dataloader.dataset.label_fold.number': 7})
    plain = load_config('baseline_r18_digits_p0.1')
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.label_fold == dict(part='train', index=3, number=7)
    assert val.label_fold == dict(part='heldout', index=3, number=7)
    assert val.label_mask == train.label_mask and val.label_mask.known_ratio == 0.5
    assert val.ann_file == train.ann_file and val.test_mode
    assert val.pipeline == plain.test_dataloader.dataset.pipeline
    assert cfg.test_dataloader.dataset.ann_file == plain.test_dataloader.dataset.ann_file
    assert cfg.test_dataloader.dataset.get('label_fold') is None
    selection = testing.describe_protocol(cfg, 'best_mAP_epoch_3.pth', {}, {})['epoch_selection']
    assert selection.startswith('best EMA mAP on known labels of the training images, held out of training (')


def test_several_files_and_repeated_images(digits):
    options = {
        'train_dataloader.dataset.ann_file': ['labels/trainval.json', 'labels/test.json'],
        'train_dataloader.dataset.data_root': str(digits),
    }
    cfg = load_config(NAME, options)
    parts = leaves(cfg.val_dataloader.dataset)
    assert [leaf.ann_file for leaf in parts] == options['train_dataloader.dataset.ann_file']
    assert [leaf.label_fold for leaf in parts] == [dict(part='heldout')] * 2


def test_labels_that_are_trained_on_select_nothing():
    with pytest.raises(UserError, match="train_dataloader.dataset.label_fold must have the part 'train'"):
        load_config(NAME, ['train_dataloader.dataset.label_fold=None'])


def test_both_numbers(make, tmp_path, capsys):
    """Of a run in one piece and of one resumed: each number is that of a test of its epoch."""
    epochs = {'train_cfg.max_epochs': 3, 'default_hooks.checkpoint.max_keep_ckpts': 3}
    build_runner(make('whole', **epochs)).train()
    found = json.loads((tmp_path / 'whole' / 'selection.json').read_text())
    assert [row['epoch'] for row in found['epochs']] == [1, 2, 3] and found['metric'] == 'mAP'
    for row in found['epochs']:
        tested = testing.test(make('test'), str(tmp_path / 'whole' / f'epoch_{row["epoch"]}.pth'), recovery=False)
        assert row['test'] == pytest.approx(tested['mAP'], abs=1e-9)
    first_best = max(found['epochs'], key=lambda row: row['validation'])
    assert found['selected'] == first_best
    assert found['selected']['epoch'] == read_record(tmp_path / 'whole').best['mAP'].epoch
    assert found['best_on_test'] == max(found['epochs'], key=lambda row: row['test'])
    assert found['gain_of_peeking'] == found['best_on_test']['test'] - found['selected']['test'] >= 0
    assert len({row['validation'] for row in found['epochs']} & {row['test'] for row in found['epochs']}) == 0
    said = capsys.readouterr().out
    assert re.search(
        rf'test mAP {found["selected"]["test"]:.2f} of epoch {found["selected"]["epoch"]}, .* the best on it is '
        rf'{found["best_on_test"]["test"]:.2f}, of epoch {found["best_on_test"]["epoch"]}: peeking would add',
        said,
    )

    # sarlp test says both of the selected epoch, and of no other
    for epoch in (1, 2, 3):
        out = tmp_path / f'results{epoch}'
        testing.test(make(f'test{epoch}'), str(tmp_path / 'whole' / f'epoch_{epoch}.pth'), out, recovery=False)
        selection = json.loads((out / 'metrics.json').read_text())['protocol']['selection']
        is_selected = epoch == found['selected']['epoch']
        assert ('peeking would add' in capsys.readouterr().out) == is_selected
        assert selection == ({key: found[key] for key in found if key != 'epochs'} if is_selected else None)

    later = dict(epochs, load_from=str(tmp_path / 'whole' / 'epoch_2.pth'), resume=True)
    build_runner(make('resumed', **later)).train()
    assert json.loads((tmp_path / 'resumed' / 'selection.json').read_text())['epochs'] == found['epochs']


def test_a_test_set_without_a_positive_has_nothing_to_peek_at(make, digits, tmp_path, capsys):
    metainfo, entries = load_annotation(digits / 'labels' / 'test.json')
    for entry in entries:
        entry['positive'], entry['negative'] = [], 'rest'
    dump_annotation(tmp_path / 'none.json', metainfo['classes'], entries)
    file = {'test_dataloader.dataset.ann_file': str(tmp_path / 'none.json'), 'train_cfg.max_epochs': 1}
    build_runner(make(**file)).train()
    assert 'peeking' not in capsys.readouterr().out
    out = tmp_path / 'results'
    testing.test(make(**file), str(tmp_path / 'work' / 'best_mAP_epoch_1.pth'), out, recovery=False)
    assert json.loads((out / 'metrics.json').read_text())['protocol']['selection'] is None
    (tmp_path / 'work' / 'selection.json').write_text('{"selected":')
    with pytest.raises(UserError, match=r'selection\.json: is no record .*, or damaged; move it to test without'):
        testing.peeking(tmp_path / 'work' / 'best_mAP_epoch_1.pth', 1)


def test_refused(make):
    with pytest.raises(UserError, match='SelectionHook needs default_hooks.checkpoint.save_best'):
        build_runner(make('a', **{'default_hooks.checkpoint.save_best': None})).train()
    with pytest.raises(UserError, match='SelectionHook needs val_dataloader and test_dataloader'):
        cfg = make('b')
        cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
        build_runner(cfg).train()
