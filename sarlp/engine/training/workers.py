"""Data-loader workers that outlive the SIGTERM of a scheduler, so that the main process can save."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader


def _die_with_parent_only() -> None:
    """Leave when the parent says so; ignore SIGTERM from anybody else."""
    parent = os.getppid()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _start(inner: Callable[[int], None] | None, worker_id: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_die_with_parent_only, daemon=True).start()
    if inner is not None:
        inner(worker_id)


def shield_workers(loader: DataLoader) -> None:
    """Let the workers of a loader ignore SIGTERM unless it comes from the main process; in place.

    A scheduler sends it to all processes at once, and a main process whose workers are gone cannot end its iteration.
    Workers end with the main process: torch's watch it.
    """
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS, where no such schedulers run
        loader.worker_init_fn = functools.partial(_start, loader.worker_init_fn)


@contextlib.contextmanager
def sigterm_held() -> Iterator[None]:
    """Hold SIGTERM back for the block. Processes that begin within never see it before their shield is up."""
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
