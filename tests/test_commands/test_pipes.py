"""Commands whose output is read by another program, which may stop reading."""

import os
import subprocess
import sys

import pytest

from sarlp.commands.friendly import friendly_errors

LIST = [sys.executable, '-m', 'sarlp', 'list', '--parts']


def test_one_that_stops_reading_is_no_error():
    """As ``head -1`` does: neither a message nor a traceback, and the exit code that a shell has for it."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, 'wb') as closed:
        done = subprocess.run(LIST, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b'')


def test_another_pipe_that_breaks_is_one(capsys):
    with pytest.raises(SystemExit, match='1'), friendly_errors():
        raise BrokenPipeError('the pipe to a process that died')
    assert capsys.readouterr().err == 'error: the pipe to a process that died\n'
