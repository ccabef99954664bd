"""What the command-line tools share."""

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterator

from sarlp.errors import UserError, plain_warnings


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """End the process with ``error: message`` and exit code 1 where the user, not the code, has to change something.

    That is :class:`sarlp.errors.UserError` and what the operating system refuses (:class:`OSError`: missing file, no
    permission, full disk). Every other exception is a bug and keeps its traceback. Ctrl-C ends with exit code 130,
    and what was piped into a program that reads no more, such as ``head -3``, says nothing and ends with 141, as shells
    have it.
    A ``UserWarning`` is shown as ``note: message``, a :class:`sarlp.errors.GraveWarning` as ``warning: message``.
    """
    if not gc.isenabled():  # by sarlp.commands.main
        gc.freeze()
        gc.enable()
    try:
        with plain_warnings():
            yield
            print(end='', flush=True)  # here rather than at the end of the interpreter, which knows no answer
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(141)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        print(f'error: {error}{". The disk is full: make room, then start again" if full else ""}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        print(': '.join(['interrupted', *map(str, stop.args)]), file=sys.stderr)
        sys.exit(130)


def _nobody_reads() -> bool:
    """Whether it is the standard output that broke, and not the pipe to a process that died: an empty line tells."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its end is complained of
        return True
    return False
