"""What the command-line tools share."""

import contextlib
import errno
import gc
import sys
from collections.abc import Iterator

from sarlp.errors import UserError, plain_warnings


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """End the process with ``error: message`` and exit code 1 where the user, not the code, has to change something.

    That is :class:`sarlp.errors.UserError` and what the operating system refuses (:class:`OSError`: missing file, no
    permission, full disk). Every other exception is a bug and keeps its traceback. Ctrl-C ends with exit code 130.
    A ``UserWarning`` is shown as ``note: message``, a :class:`sarlp.errors.GraveWarning` as ``warning: message``.
    """
    if not gc.isenabled():  # by sarlp.commands.main
        gc.freeze()
        gc.enable()
    try:
        with plain_warnings():
            yield
    except (UserError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        print(f'error: {error}{". The disk is full: make room, then start again" if full else ""}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        print(': '.join(['interrupted', *map(str, stop.args)]), file=sys.stderr)
        sys.exit(130)
