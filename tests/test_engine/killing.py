"""Train in child processes that are killed at random moments and resumed: ``python killing.py CONFIG SEED KILLS``.

The children are forked from here, so the imports are paid once. Prints how many kills hit a running child, and how many
of those a checkpoint that was being written.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import mmengine.config.config
import torch

import sarlp  # noqa: F401
from sarlp.engine import build_runner, load_config

torch.set_num_threads(1)
mmengine.config.config.FormatCode = lambda text, **kwargs: (text, True)  # half a second for each checkpoint


def train(config: str) -> None:
    cfg = load_config(config)
    cfg.resume = True
    with open(Path(cfg.work_dir).with_suffix('.log'), 'a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    build_runner(cfg).train()


def fork(config: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            train(config)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG) != (0, 0)


def main() -> None:
    config, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    work_dir = Path(load_config(config).work_dir)
    hits = writing = 0
    while hits < kills:
        child = fork(config)
        known = set(work_dir.glob('*.pth'))
        # every other time in the middle of a checkpoint, else somewhere on the way to the next ones
        wait_for_writing = hits % 2 == 1
        deadline = time.monotonic() + chance.uniform(0.1, 1.0)
        while not ended(child):
            half = list(work_dir.glob('.*.pth.tmp'))
            moved = set(work_dir.glob('*.pth')) - known
            if (half and moved) if wait_for_writing else time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                if os.WIFSIGNALED(status):
                    hits += 1
                    writing += bool(list(work_dir.glob('.*.pth.tmp')))
                break
            time.sleep(0.0005)
        else:
            break  # the run is over
    child = fork(config)
    _, status = os.waitpid(child, 0)
    print(f'{hits} kills, {writing} of them while writing, exit {os.waitstatus_to_exitcode(status)}')


if __name__ == '__main__':
    main()
