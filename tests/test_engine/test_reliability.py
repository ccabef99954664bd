"""Full disks, long runs, and the same run twice."""

import gc
import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine import read_checkpoint
from sarlp.engine.records.checkpoint_file import is_whole

HERE = Path(__file__).parent


class Limit(Hook):
    """From the end of the first epoch on no file may be larger than ``size``: the system fails the write half-way."""

    priority = 'VERY_LOW'

    def __init__(self, size):
        self.size = size

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_write_that_fails_half_way_keeps_the_last_checkpoint(make_runner):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    runner = make_runner()
    runner.val_loop.run = lambda: None
    runner.register_hook(Limit(100_000))
    try:
        with pytest.raises((OSError, RuntimeError)):
            runner.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    work = Path(runner.work_dir)
    assert [path.name for path in work.glob('*.pth')] == ['epoch_1.pth'] and is_whole(work / 'epoch_1.pth')
    assert not list(work.glob('.*.tmp'))
    assert (work / 'epoch_1.pth').stat().st_size > 100_000
    make_runner(resume=True).train()  # there is room again
    assert is_whole(work / 'epoch_2.pth')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('unshare') is None, reason="a file system of one's own takes unshare, of Linux")
def test_full_disk(make_config, tmp_path):
    """A file system with room for one checkpoint and a half, of one's own."""
    cfg = make_config(**{'work_dir': str(tmp_path / 'disk' / 'work'), 'train_cfg.max_epochs': 20})
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'disk').mkdir()
    script = f"""
mount -t tmpfs -o size=6m tmpfs {tmp_path}/disk || exit 99
{sys.executable} tools/train.py {tmp_path}/config.py
echo status $?
{sys.executable} -c "
from sarlp.engine import newest_checkpoint, read_checkpoint
path = newest_checkpoint('{tmp_path}/disk/work', print)
print('left', path.name, len(read_checkpoint(path)['state_dict']))"
"""
    done = subprocess.run(
        ['unshare', '-rm', 'bash', '-c', script], cwd=HERE.parents[1], capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 99, 'this system lets nobody mount a tmpfs: ' + done.stderr
    assert 'status 1' in done.stdout and 'The disk is full' in done.stdout + done.stderr, done.stdout[-2000:]
    assert 'left epoch_' in done.stdout and 'damaged' not in done.stdout


def test_batches_without_a_known_label_are_counted(make_runner, caplog):
    options = {'train_dataloader.dataset.label_mask.known_ratio': 1e-9, 'train_cfg.max_epochs': 1}
    runner = make_runner(**options)
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    assert any('3 of 3 batches of this epoch had no known label' in line for line in said)
    content = read_checkpoint(Path(runner.work_dir) / 'epoch_1.pth')
    assert all(value.isfinite().all() for value in content['state_dict'].values())


def test_deterministic_runs_are_the_same(make_config, repository, tmp_path):
    """Two processes with ``randomness.deterministic``, several threads each."""
    ends = []
    for name in 'ab':
        cfg = make_config(**{'work_dir': str(tmp_path / name), 'train_cfg.max_epochs': 1})
        cfg.randomness.deterministic = True
        cfg.dump(tmp_path / f'{name}.py')
        command = [sys.executable, str(repository / 'tools/train.py'), str(tmp_path / f'{name}.py')]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, 'OMP_NUM_THREADS': '2'})
        ends.append(read_checkpoint(tmp_path / name / 'epoch_1.pth'))
    for kind in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, ends[1][kind][name]) for name, value in ends[0][kind].items())


class Watch(Hook):
    """Memory and file descriptors of the process and its workers, at the end of every epoch."""

    def __init__(self):
        self.main, self.workers, self.files = [], [], []

    def after_train_epoch(self, runner):
        gc.collect()
        process = psutil.Process()
        children = process.children()
        self.main.append(process.memory_info().rss)
        self.workers.append(max((child.memory_info().rss for child in children), default=0))
        self.files.append(process.num_fds())


def soak(make_runner, epochs, persistent):
    """Epochs of 24 iterations. Returns what :class:`Watch` saw."""
    options = {'train_dataloader.batch_size': 1, 'train_dataloader.num_workers': 2, 'train_cfg.max_epochs': epochs}
    options |= {'train_dataloader.persistent_workers': persistent, 'train_cfg.val_interval': 10**6}
    options |= {'default_hooks.checkpoint.interval': max(epochs // 5, 1)}
    runner = make_runner(**options)
    runner.val_loop.run = lambda: None
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return watch


def assert_flat(watch, start, megabytes):
    assert max(watch.files[start:]) <= watch.files[start] + 4, watch.files
    for sizes in (watch.main, watch.workers):
        assert (max(sizes[start:]) - sizes[start]) / 2**20 < megabytes, [size >> 20 for size in sizes]


def test_short_soak(make_runner):
    assert_flat(soak(make_runner, epochs=6, persistent=False), start=2, megabytes=40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize('persistent', [False, True])
def test_soak(make_runner, persistent):
    """2,016 iterations, the workers started anew in each of 84 epochs, or living through all of them."""
    assert_flat(soak(make_runner, epochs=84, persistent=persistent), start=20, megabytes=60)
