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
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sarlp.errors import UserError, plain_warnings

_PRELOADED = ('sarlp.engine.testing', 'sarlp.inference', 'sarlp.apps.completion')  # what the work imports
BELOW_MAIN = (
    "A script that works in several processes has to do so below if __name__ == '__main__':, since each of them reads "
    'the script first'
)
_HELD = (signal.SIGINT, signal.SIGTERM)
_beginning = threading.Lock()


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
            outcome = None
            if process is not None:
                with contextlib.suppress(EOFError):
                    outcome = receiver.recv()
                process.join()
        if outcome is not None:
            returned, error, there = outcome
            if error is not None:
                raise error from RuntimeError(there)
            return returned
        ended = 'not begun' if process is None else f'its process ended with {process.exitcode}'
        advice = 'The same command goes on'
        if process is not None and process.exitcode == -signal.SIGKILL:
            ended += ', killed by another, such as for want of memory; --processes 1 takes less'
        elif process is not None and process.exitcode == 1:
            ended, advice = f'{ended}, and what it said is above', BELOW_MAIN
        raise UserError(f'{name}: {ended}. {advice}')

    def _start(self, target: Callable, *arguments: Any) -> BaseProcess | None:
        """A process that was begun; None where all are to end."""
        import torch

        if hasattr(os, 'fork') and not torch.cuda.is_available():
            multiprocessing.set_forkserver_preload(list(_PRELOADED))
            context: Any = multiprocessing.get_context('forkserver')
        else:
            context = multiprocessing.get_context('spawn')
        process = context.Process(target=_within, args=(dict(os.environ), target, *arguments))
        with _beginning:
            if self.stopping:
                return None
            try:
                with _path_of_this_one(), _script_that_is_there(), _signals_held():
                    process.start()
            except (EOFError, ConnectionError):
                raise UserError(
                    'processes of their own can not begin here: that which they are copied from ended, what it said is '
                    'above; with one process (--processes 1) there is none'
                ) from None
        if self.stopping:  # it may have begun behind the back of stop
            process.terminate()
        return process


@contextlib.contextmanager
def _path_of_this_one() -> Iterator[None]:
    """What begins within imports nothing of the present folder that this process would not, such as a ``random.py`` of
    somebody's: multiprocessing begins ``python -c``, which looks there first. Python 3.10 does so all the same."""
    name = 'PYTHONSAFEPATH'
    if name in os.environ or {'', os.getcwd()} & {*sys.path}:
        yield
        return
    os.environ[name] = '1'
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def _script_that_is_there() -> Iterator[None]:
    """What begins within reads the script of this process, but not one that came by the standard input, as of
    ``python - <<EOF``: its file is called ``<stdin>``."""
    main = sys.modules['__main__']
    file = getattr(main, '__file__', None)
    if file is None or os.path.exists(file):
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """What begins within hears of Ctrl-C and SIGTERM when it can end in good order, in :func:`_within`, and what the
    processes are copied from never, which tells how they ended; a terminal and a scheduler signal all of them."""
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    resource_tracker.ensure_running()  # which, where it begins, lets them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _within(environment: dict[str, str], target: Callable, *arguments: Any) -> None:
    os.environ.clear()  # it is that of the first process that began here
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)  # that of this system, not that of this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if hasattr(signal, 'pthread_sigmask'):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        target(*arguments)
    except KeyboardInterrupt:  # of which the parent heard, too
        sys.exit(128 + signal.SIGINT)


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
        sender.send(outcome)


def _to_send(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # one of somebody's that can not be made of its arguments
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error
