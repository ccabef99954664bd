"""Several processes: the gradient of the global batch, and the end of a run when one of them dies."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def torchrun(ranks, *arguments, env, timeout=240):
    command = [sys.executable, '-m', 'torch.distributed.run', f'--nproc_per_node={ranks}']
    command += [f'--master_port={env["PORT"]}', *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)


def test_the_gradient_is_that_of_the_global_batch(tmp_path, distributed_env):
    found = []
    for ranks in (1, 2, 3):
        done = torchrun(ranks, HERE / 'gradients.py', tmp_path / f'{ranks}.pt', env=distributed_env())
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(torch.load(tmp_path / f'{ranks}.pt', weights_only=True))
    one, *others = found
    for mode, numbers in one.items():
        assert len(numbers) > 20
        for other in others:
            assert other[mode].keys() == numbers.keys()
            for name, expected in numbers.items():
                error = (other[mode][name] - expected).abs().max().item()
                assert error <= 1e-9 * max(expected.abs().max().item(), 1), (mode, name)


def test_each_rank_goes_on_with_its_own_statistics(tmp_path, distributed_env):
    done = torchrun(2, HERE / 'statistics_of_ranks.py', tmp_path / 'of', env=distributed_env())
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        found = torch.load(tmp_path / f'of.{rank}', weights_only=True)
        assert found['resumed'] == found['before']  # of all three, with another value on each rank
        assert found['best'] == found['weights'] == found['other number'] == [0.0, 1.0] * 3
    assert found['before'] == [1.25, 101.25, 2.25, 102.25, 3.25, 103.25]


def test_a_broken_loss_of_one_rank_is_learnt_from_by_none(tmp_path, distributed_env):
    done = torchrun(2, HERE / 'broken_rank.py', tmp_path / 'said', env=distributed_env())
    assert done.returncode == 0, done.stderr[-3000:]
    said = [(tmp_path / f'said.{rank}').read_text() for rank in range(2)]
    assert said[0] == '[False, True] the loss of another process is not finite; its message says which'
    assert said[1].startswith(
        '[False, True] the loss is not finite (loss = nan); the images of this batch: image of 1.'
    )


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_what_is_no_number_of_processes(script, repository):
    words = ['c.py', 'c.pth', '--work-dir'] if script == 'dist_test.sh' else ['2', 'c.py']
    done = subprocess.run(['bash', repository / 'tools' / script, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith(f"of which GPUS is a number of processes, got '{words[-1]}'\n")


def test_a_rank_that_dies_ends_the_others(make_config, tmp_path, distributed_env, repository):
    """Killed in training, without a word: the run ends within the minute and says which rank it was."""
    cfg = make_config(**{'work_dir': str(tmp_path / 'work'), 'train_cfg.max_epochs': 1000})
    cfg.default_hooks.logger.interval = 1
    cfg.dump(tmp_path / 'config.py')
    env = distributed_env()
    command = ['bash', str(repository / 'tools/dist_train.sh'), str(tmp_path / 'config.py'), '2']
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if line.startswith('epoch '):
                break
        listing = subprocess.run(['ps', '-ww', '-eo', 'pid,args'], capture_output=True, text=True).stdout
        mine = [line for line in listing.splitlines() if 'train.py' in line and str(tmp_path) in line]
        ranks = [int(line.split()[0]) for line in mine if 'bash' not in line and 'distributed.run' not in line]
        assert len(ranks) == 2, mine
        os.kill(max(ranks), signal.SIGKILL)
        killed = time.monotonic()
        rest = process.communicate(timeout=60)[0]
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun ends its processes, which have sessions of their own
        process.wait()
        process.stdout.close()
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    assert re.search(r'exitcode\s*:\s*-9', rest) and 'Signal 9' in rest, rest[-3000:]
