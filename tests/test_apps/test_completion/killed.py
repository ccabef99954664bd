"""Complete a spreadsheet in child processes that are killed: ``python killed.py LABELS PHOTOS CONFIG OUT SIGN...``.

A child is killed as soon as the next SIGN is there, a file below OUT. The last one may end; then the same is done at
once in OUT_at_once. The children are forked from here, so that the imports are paid once.
"""

import os
import signal
import sys
import time
from pathlib import Path

import mmengine.config.config
import torch

from sarlp.apps.spreadsheet_completion import complete

torch.set_num_threads(1)
mmengine.config.config.FormatCode = lambda text, **kwargs: (text, True)  # half a second for each checkpoint


def start(labels: str, photos: str, config: str, out: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            complete(labels, photos, out, precision=0.8, folds=2, config=config)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return child


def main() -> None:
    labels, photos, config, out, *signs = sys.argv[1:]
    for sign in signs:
        child = start(labels, photos, config, out)
        while not (Path(out) / sign).exists():
            assert os.waitpid(child, os.WNOHANG) == (0, 0), f'it ended before {sign} was there'
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        # a line of its own: the child may be in the middle of one
        print(f'\nkilled at {sign}, finished: {(Path(out) / "recovered.csv").exists()}', flush=True)
    for folder in (out, f'{out}_at_once'):
        _, status = os.waitpid(start(labels, photos, config, folder), 0)
        print(f'exit {os.waitstatus_to_exitcode(status)}', flush=True)


if __name__ == '__main__':
    main()
