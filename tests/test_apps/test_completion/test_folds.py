"""Folds that are trained at the same time are those that are trained one after another."""

import copy
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from sarlp.apps.completion import folds
from sarlp.apps.completion.folds import score_out_of_fold
from sarlp.apps.completion.training import digest_of_inputs, require_unseen_weights
from sarlp.apps.completion.union import UNION, union_of
from sarlp.apps.spreadsheets.csv_labels import read_csv_labels, write_annotations
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.label_masks import save_label_mask
from sarlp.datasets.nesting import annotation_path, digest_of_images, with_options
from sarlp.engine import load_config, read_checkpoint
from sarlp.engine.records.provenance import TRAINED_ON, trained_images
from sarlp.errors import UserError
from sarlp.registry import DATASETS

from .test_complete_spreadsheet import REPOSITORY, TINY

FOLDS = 3


@pytest.fixture(scope='module')
def cfg(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp('folds')
    (folder / 'tiny.py').write_text(TINY)
    data = folder / 'data'
    write_annotations(read_csv_labels(scenes / 'labels.csv', scenes / 'JPEGImages'), data)
    return load_config(folder / 'tiny.py', {'data_root': str(data), 'tokens.dir': str(folder / 'tokens')})


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_same_scores_and_models(cfg, tmp_path, one_thread, capfd):
    dataset = cfg.train_dataloader.dataset
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        found[processes] = score_out_of_fold(
            cfg, dataset, FOLDS, folder / 'folds', 'cpu', model_dir=folder / 'model', processes=processes
        )
        assert ('the other folds are trained 2 at a time' in capfd.readouterr().out) == (processes == 2)
    (scored, checkpoints, model), (other, others, other_model) = found.values()
    assert scored.image_ids == other.image_ids
    for name in ('scores', 'observed', 'truth'):
        np.testing.assert_array_equal(getattr(scored, name), getattr(other, name))
    for one, two in zip([*checkpoints, model], [*others, other_model], strict=True):
        first, second = (read_checkpoint(file)['state_dict'] for file in (one, two))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    def when():
        return [file.stat().st_mtime_ns for file in [*others, other_model]]

    before = when()
    again = score_out_of_fold(
        cfg, dataset, FOLDS, tmp_path / '2/folds', 'cpu', model_dir=other_model.parent, processes=2
    )
    np.testing.assert_array_equal(again[0].scores, scored.scores)
    assert again[1:] == (others, other_model) and when() == before  # nothing is trained twice


@pytest.mark.parametrize('key', ['load_from', 'model.backbone.init_cfg.checkpoint'])
def test_weights_that_have_seen_what_is_held_out(cfg, tmp_path, key):
    """A model of a fold that began with them would be judged by labels that it was trained on."""
    dataset = cfg.train_dataloader.dataset
    images = DATASETS.build({**dataset, 'pipeline': []})
    weights, begun = tmp_path / 'weights.pth', copy.deepcopy(cfg)
    torch.save({'meta': {TRAINED_ON: trained_images(images)[3:]}, 'state_dict': {}}, weights)
    if key == 'load_from':
        begun.load_from = str(weights)
    else:
        begun.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights), prefix='backbone.')
    seen = rf'{re.escape(key)}=.*weights\.pth: was trained on {len(images) - 3} of the {len(images)} images of .*json'
    with pytest.raises(UserError, match=seen):
        score_out_of_fold(begun, dataset, FOLDS, tmp_path / 'folds', 'cpu')
    assert not (tmp_path / 'folds').exists()
    torch.save({'meta': {TRAINED_ON: torch.tensor([3, 5])}, 'state_dict': {}}, weights)  # of other images
    require_unseen_weights(begun, dataset)
    if key != 'load_from':
        torch.save({'conv1.weight': torch.ones(3)}, weights)  # which does not say
        require_unseen_weights(begun, dataset)
        weights.write_bytes(b'of some other format')
        require_unseen_weights(begun, dataset)


def test_what_no_config_says_is_another_training(cfg, tmp_path, monkeypatch):
    """The file of a label mask, or of weights, that is another under the same name: nothing of before is taken."""
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    images = DATASETS.build({**dataset, 'pipeline': []})
    names = [images.image_id(index) for index in range(len(images))]
    known = np.random.default_rng(0).random((len(names), len(images.classes))) < 0.9
    mask, weights, masked, begun = (
        tmp_path / 'mask.npz',
        tmp_path / 'weights.pth',
        copy.deepcopy(dataset),
        copy.deepcopy(cfg),
    )
    masked.label_mask = dict(type='FileLabelMask', file=str(mask))
    begun.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    found = []
    for change in range(3):
        known[change - 1, 3] ^= change > 0
        save_label_mask(mask, names, images.classes, known)
        torch.save({'a': torch.full((3,), float(change))}, weights)
        found.append([digest_of_inputs(cfg, masked), digest_of_inputs(begun, dataset), digest_of_inputs(cfg, dataset)])
    for of_kind, number in zip(zip(*found, strict=True), (3, 3, 1), strict=True):
        assert len({*of_kind}) == number
    assert found[0][2] == digest_of_images(dataset)  # of what was begun before

    class Trained(Exception):
        pass

    def stop(*_, **__):
        raise Trained

    monkeypatch.setattr('sarlp.apps.completion.training.build_runner', stop)
    for _ in range(2):  # the second one goes on
        with pytest.raises(Trained):
            score_out_of_fold(cfg, masked, FOLDS, tmp_path / 'folds', 'cpu')
    known[5] = ~known[5]
    save_label_mask(mask, names, images.classes, known)
    with pytest.raises(UserError, match='fold0: this was trained with another config, on other labels or images, from'):
        score_out_of_fold(cfg, masked, FOLDS, tmp_path / 'folds', 'cpu')


def test_the_file_of_both_splits_is_that_of_the_folds(cfg, tmp_path):
    """A refused start leaves it, since the review of what was completed reads it."""
    datasets = {name: cfg[f'{name}_dataloader'].dataset for name in ('train', 'test')}
    union_of(datasets, tmp_path)
    before = (tmp_path / UNION).read_bytes()
    metainfo, entries = load_annotation(annotation_path(datasets['test']))
    fewer = tmp_path.with_name('fewer.json')
    dump_annotation(fewer, metainfo['classes'], entries[1:])
    one = {**datasets, 'test': with_options(datasets['test'], ann_file=str(fewer))}
    union_of(one, tmp_path)  # nothing is trained on it yet
    assert (tmp_path / UNION).read_bytes() != before
    union_of(datasets, tmp_path)
    (tmp_path / 'fold0').mkdir()
    (tmp_path / 'fold0' / 'started.json').write_text('"of these"')
    union_of(datasets, tmp_path)
    with pytest.raises(UserError, match='its folds were trained on other labels or images than .*Remove'):
        union_of(one, tmp_path)
    assert (tmp_path / UNION).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {UNION, 'fold0'}


def test_what_one_refuses_ends_the_others(cfg, tmp_path, one_thread):
    (tmp_path / 'fold2').mkdir()
    (tmp_path / 'fold2' / 'started.json').write_text('"of another"')
    with pytest.raises(UserError, match='fold2: this was trained with another config'):
        score_out_of_fold(cfg, cfg.train_dataloader.dataset, 11, tmp_path, 'cpu', processes=2)
    assert not (tmp_path / 'fold10').exists()


def test_processes_that_are_in_vain_are_told(cfg, tmp_path, one_thread, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(folds, 'train_to_the_end', stop)
    without = cfg.copy()
    without.pop('tokens')

    def begin(cfg, processes):
        with pytest.raises(KeyboardInterrupt):
            score_out_of_fold(cfg, cfg.train_dataloader.dataset, 3, tmp_path, 'cpu', processes=processes)

    with pytest.warns(UserWarning, match='one after another, not 2 at a time: the config keeps no tokens'):
        begin(without, 2)
    for silent in ((without, 1), (without, None), (cfg, 2)):
        begin(*silent)  # a warning would be an error


SCRIPT = """
import sys
import torch
from sarlp.apps.completion import folds
from sarlp.apps.completion.folds import score_out_of_fold
from sarlp.engine import load_config
if __name__ == '__main__':
    torch.set_num_threads(1)
    cfg = load_config(sys.argv[1])
    score_out_of_fold(cfg, cfg.train_dataloader.dataset, 3, sys.argv[2], 'cpu', processes=2)
"""


@pytest.mark.slow
def test_sigterm_saves_what_is_trained(cfg, tmp_path):
    """No process is there afterwards, and the same call goes on."""
    cfg = cfg.copy()
    cfg.train_cfg.max_epochs = 60
    (tmp_path / 'long.py').write_text(cfg.pretty_text)
    (tmp_path / 'script.py').write_text(SCRIPT)
    words = [sys.executable, tmp_path / 'script.py', tmp_path / 'long.py', tmp_path / 'folds']
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}

    def begin():
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    with begin() as process:
        while not all(list((tmp_path / 'folds' / name).glob('epoch_*.pth')) for name in ('fold1', 'fold2')):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        process.terminate()
        said, _ = process.communicate()  # which waits for all that hold the pipe
    assert process.returncode == 128 + signal.SIGTERM
    stopped = re.findall(r'fold ([23]) of 3: warning: SIGTERM: stopped; \S+/(?:epoch|iter)_\d+.pth is saved', said)
    assert sorted(stopped) == ['2', '3'] and 'Traceback' not in said, said
    with begin() as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert said.count('trained before') == 1 and said.count('training in ') == 2
