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
from sarlp.apps.completion.training import require_unseen_weights
from sarlp.apps.spreadsheets.csv_labels import read_csv_labels, write_annotations
from sarlp.engine import load_config, read_checkpoint
from sarlp.engine.provenance import TRAINED_ON, trained_images
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
