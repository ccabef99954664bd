"""What the command-line tools share."""

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterator

from sarlp.errors import UserError, plain_warnings

_FULL = 'The disk is full: make room, then start again'
_NOT_OURS = (
    'This user may not read it, or not write there: start in a folder where you may, or name one '
    '(--help says which option of this command does)'
)
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: 'That disk can only be read: start in a folder of another, or name one (--help says by which option)',
}


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
        advice = _ADVICE.get(error.errno) if isinstance(error, OSError) and error.errno is not None else None
        print('. '.join([f'error: {error}', *([advice] if advice else [])]), file=sys.stderr)
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
