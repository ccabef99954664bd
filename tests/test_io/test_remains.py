"""Temporary files of processes that were killed go, and those of others stay."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sarlp.io import remains
from sarlp.io.files import atomic_write

pytestmark = pytest.mark.skipif(remains.fcntl is None, reason='no locks')
WRITER = """
import sys
from sarlp.io.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write('whole')
    file.flush()
    print('in the middle', flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def another_process(monkeypatch):
    """Which has not looked at any folder yet."""
    monkeypatch.setattr(remains, '_tidied', set())


def begin(path):
    writer = subprocess.Popen(
        [sys.executable, '-c', WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == 'in the middle\n'
    return writer


def hidden(folder):
    return {path.name for path in folder.glob('.*')}


def test_of_one_that_was_killed_and_of_one_that_writes(tmp_path):
    killed, writing = begin(tmp_path / 'killed.csv'), begin(tmp_path / 'writing.csv')
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    (tmp_path / '.mine.tmp').touch()
    (tmp_path / '.mine.csv.0123.tmp').touch()
    assert len(hidden(tmp_path)) == 4
    with atomic_write(tmp_path / 'other.csv') as file:
        file.write('other')
    left = hidden(tmp_path) - {'.mine.tmp', '.mine.csv.0123.tmp'}
    assert len(left) == 1 and left.pop().startswith('.writing.csv.')
    writing.communicate('go on\n')
    assert writing.returncode == 0
    assert (tmp_path / 'writing.csv').read_text() == 'whole' and (tmp_path / 'other.csv').read_text() == 'other'
    assert hidden(tmp_path) == {'.mine.tmp', '.mine.csv.0123.tmp'}


def test_what_another_system_may_be_writing_has_to_be_old(tmp_path):
    """Over a network, whose locks not every system sees."""
    own = remains._system()
    other = 'zzzz' if own != 'zzzz' else 'yyyy'
    for name, age in (('new', 7), ('old', 90_000)):
        file = tmp_path / f'.{name}.csv.{other}abcd.tmp'
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    (tmp_path / f'.own.csv.{own}abcd.tmp').touch()
    remains.tidy(tmp_path)
    assert hidden(tmp_path) == {f'.new.csv.{other}abcd.tmp'}


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """By another process, that looks in the moment between."""
    hold, taken = remains._hold, []

    def late(file, place):
        if len(taken) < 2:
            taken.append(place)
            monkeypatch.setattr(remains, '_tidied', set())
            remains.tidy(tmp_path)
            assert not place.exists()
        return hold(file, place)

    monkeypatch.setattr(remains, '_hold', late)
    with atomic_write(tmp_path / 'a.csv') as file:
        file.write('whole')
    assert len(taken) == 2 and (tmp_path / 'a.csv').read_text() == 'whole' and not hidden(tmp_path)


def test_where_there_are_no_locks_nothing_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError('no locks')

    monkeypatch.setattr(remains.fcntl, 'flock', refuse)
    (tmp_path / f'.own.csv.{remains._system()}abcd.tmp').touch()
    with atomic_write(tmp_path / 'a.csv') as file:
        file.write('whole')
    assert (tmp_path / 'a.csv').read_text() == 'whole' and len(hidden(tmp_path)) == 1


def test_names_are_no_longer_than_they_were(tmp_path):
    """A name of 241 bytes could be written."""
    with atomic_write(tmp_path / ('a' * 241), 'wb') as file:
        file.write(b'whole')
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / 'b') as file:
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ['a' * 241]
