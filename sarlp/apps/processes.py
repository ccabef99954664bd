"""Work in processes of its own, which does not outlive the process that started it."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sarlp.errors import UserError, plain_warnings

_PRELOADED = ('sarlp.engine.testing', 'sarlp.inference', 'sarlp.apps.completion')  # what the work imports


class Processes:
    """Processes, several at a time from several threads.

    Each is a copy of one that has imported everything, which takes longer than many a run on kept tokens. CUDA can not
    be used in a copy of a process that may have looked for it, so where there is a GPU each starts anew.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether a SIGTERM came, or :meth:`stop` was called."""
        return self._stopping.is_set()

    @contextlib.contextmanager
    def stopped_with_this_one(self) -> Iterator[None]:
        """On SIGTERM :meth:`stop`, upon which a training saves itself, and this process ends, too."""
        if threading.current_thread() is not threading.main_thread():  # no other may listen
            yield
            return
        before = signal.signal(signal.SIGTERM, self._end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _end(self, *_) -> None:
        self.stop()
        raise SystemExit(128 + signal.SIGTERM)

    def stop(self) -> None:
        """End all that run, by SIGTERM, and begin no other. Once: a second one would kill what is saving itself."""
        if self.stopping:
            return
        self._stopping.set()
        for process in multiprocessing.active_children():
            process.terminate()

    def run(self, words: Sequence[str], log: Path) -> bool:
        """``sarlp`` with these words, what it says behind what is in ``log``. Returns whether it succeeded."""
        process = self._start(_run_command, list(words), str(log))
        if process is None:
            return False
        process.join()
        return process.exitcode == 0

    def call(self, name: str, function: Callable, *arguments: Any) -> Any:
        """What a function returns.

        Args:
            name: of the work, for messages.
            function: of a module, with ``arguments`` that can be pickled.

        Raises:
            UserError: the process did not live to its end, or did not begin since all are to end.
            Exception: that of the function.
        """
        receiver, sender = multiprocessing.Pipe(duplex=False)
        with receiver:
            process = self._start(_send_result, sender, function, arguments)
            sender.close()  # here, so that its end is seen
            try:
                returned, error, there = receiver.recv() if process is not None else (None, None, '')
            except EOFError:
                returned = error = None
        if process is not None:
            process.join()
        if error is not None:
            raise error from RuntimeError(there)
        if process is None or process.exitcode:
            ended = 'not begun' if process is None else f'its process ended with {process.exitcode}'
            killed = process is not None and process.exitcode == -signal.SIGKILL
            more = ', killed by another, such as for want of memory; --processes 1 takes less' if killed else ''
            raise UserError(f'{name}: {ended}{more}. The same command goes on')
        return returned

    def _start(self, target: Callable, *arguments: Any) -> BaseProcess | None:
        """A process that was begun; None where all are to end."""
        import torch

        if hasattr(os, 'fork') and not torch.cuda.is_available():
            multiprocessing.set_forkserver_preload(list(_PRELOADED))
            context: Any = multiprocessing.get_context('forkserver')
        else:
            context = multiprocessing.get_context('spawn')
        if self.stopping:
            return None
        process = context.Process(target=_within, args=(target, *arguments))
        process.start()
        if self.stopping:  # it may have begun behind the back of stop
            process.terminate()
        return process


def _within(target: Callable, *arguments: Any) -> None:
    multiprocessing.set_start_method(None, force=True)  # that of this system, not that of this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(*arguments)


def _end_with_parent() -> None:
    """What killed the parent did not ask for this process, in which a training would go on, in nobody's hands."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run_command(words: list[str], log: str) -> None:
    with open(log, 'ab') as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    from sarlp.commands import main

    main(words)


def _send_result(sender: Any, function: Callable, arguments: Sequence[Any]) -> None:
    outcome: tuple[Any, Exception | None, str]
    with plain_warnings():
        try:
            outcome = function(*arguments), None, ''
        except Exception as error:
            outcome = None, _to_send(error), ''.join(traceback.format_exception(error))
        except KeyboardInterrupt:  # of which the parent heard, too
            sys.exit(128 + signal.SIGINT)
        sender.send(outcome)


def _to_send(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # one of somebody's that can not be made of its arguments
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error
