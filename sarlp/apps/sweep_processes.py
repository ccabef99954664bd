"""Commands of ``sarlp`` in processes of their own, which do not outlive the one that started them."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_PRELOADED = ('sarlp.engine.testing', 'sarlp.inference', 'sarlp.apps.completion')  # what the commands of a run import


class Processes:
    """Processes of :meth:`run`, several at a time from several threads."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether a SIGTERM came."""
        return self._stopping.is_set()

    @contextlib.contextmanager
    def stopped_with_this_one(self) -> Iterator[None]:
        """On SIGTERM all processes get one too, upon which a training saves itself, and no other begins."""
        if threading.current_thread() is not threading.main_thread():  # no other may listen
            yield
            return
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _stop(self, *_) -> None:
        self._stopping.set()
        for process in multiprocessing.active_children():
            process.terminate()
        raise SystemExit(128 + signal.SIGTERM)

    def run(self, words: Sequence[str], log: Path) -> bool:
        """``sarlp`` with these words, what it says behind what is in ``log``. Returns whether it succeeded.

        The process is a copy of one that has imported everything, which takes longer than many a run on kept tokens.
        CUDA can not be used in a copy of a process that may have looked for it, so where there is a GPU each starts
        anew.
        """
        import torch

        if hasattr(os, 'fork') and not torch.cuda.is_available():
            multiprocessing.set_forkserver_preload(list(_PRELOADED))
            context: Any = multiprocessing.get_context('forkserver')
        else:
            context = multiprocessing.get_context('spawn')
        if self.stopping:
            return False
        process = context.Process(target=_run, args=(list(words), str(log)))
        process.start()
        if self.stopping:  # it may have begun behind the back of _stop
            process.terminate()
        process.join()
        return process.exitcode == 0


def _run(words: list[str], log: str) -> None:
    with open(log, 'ab') as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.set_start_method(None, force=True)  # that of this system, not that of this process
    from sarlp.commands import main

    main(words)
