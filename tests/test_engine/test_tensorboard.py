"""The curves of a run, as TensorBoard's own reader finds them."""

import json
import sys

import pytest
from mmengine.hooks import Hook
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sarlp.engine import build_runner
from sarlp.errors import UserError


def curves(folder):
    """Name to {step: value} of all event files directly in a folder, with every value that was ever written."""
    reader = EventAccumulator(str(folder), size_guidance={'scalars': 0}, purge_orphaned_data=False)
    reader.Reload()
    assert not [kind for kind in ('images', 'tensors', 'histograms') if reader.Tags()[kind]]
    return {name: {event.step: event.value for event in reader.Scalars(name)} for name in reader.Tags()['scalars']}


def json_rows(folder):
    return [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]


class Stop(Hook):
    """Ends the process's training without any clean-up, after an iteration."""

    priority = 'LOWEST'

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            raise SystemExit(143)


def test_scalars_of_a_run_that_was_cut_off_and_resumed(make_config, tmp_path):
    options = {'default_hooks.logger.interval': 1}
    runner = build_runner(make_config(**options))
    runner.register_hook(Stop(at=5))
    with pytest.raises(SystemExit):
        runner.train()
    (first,) = (tmp_path / 'work').glob('*/vis_data')  # before anything could be flushed by the end of a run
    found = curves(first)
    rows = json_rows(first)
    training = {row['step']: row for row in rows if 'iter' in row}
    assert set(found['train/loss']) == set(training) == {1, 2, 3, 4, 5}
    for name in ('loss', 'loss_known', 'loss_recovery', 'lr', 'time'):
        assert found[f'train/{name}'] == {step: pytest.approx(row[name]) for step, row in training.items()}
    assert set(found['val/mAP']) == {1}
    (validation,) = (row for row in rows if 'iter' not in row)
    assert found['val/mAP'][1] == pytest.approx(validation['mAP'])
    assert set(found) == {
        *(f'train/{name}' for name in training[5] if name not in ('iter', 'epoch', 'step')),
        *(f'val/{name}' for name in validation if name != 'step'),
    }
    assert len(found) < 30
    classes = runner.train_dataloader.dataset.metainfo['classes']
    assert not [name for name in found if any(word in name.split('/') for word in classes)]

    cfg = make_config(**options, resume=True)
    resumed = build_runner(cfg)
    resumed._log_dir = str(tmp_path / 'work' / 'resumed')
    resumed.visualizer = resumed.build_visualizer(
        {**cfg.visualizer, 'name': 'resumed', 'save_dir': str(tmp_path / 'work' / 'resumed')}
    )  # the folder is named after the second in which it is made
    resumed.train()
    found = curves(tmp_path / 'work' / 'resumed' / 'vis_data')
    assert set(found['train/loss']) == {4, 5, 6}  # from the checkpoint of the first epoch
    assert set(found['val/mAP']) == {1, 2}  # that of the epoch it resumed from is made up for


def test_testing_writes_none_and_does_not_import_it(make_runner, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    monkeypatch.delitem(sys.modules, 'torch.utils.tensorboard', raising=False)
    make_runner(training=False).test()
    assert not list(tmp_path.rglob('events.out*'))


def test_without_tensorboard(make_runner, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    monkeypatch.delitem(sys.modules, 'torch.utils.tensorboard', raising=False)
    with pytest.raises(UserError, match=r'pip install tensorboard, or take TensorboardScalars out of visualizer'):
        make_runner(**{'default_hooks.logger.interval': 1}).train()
