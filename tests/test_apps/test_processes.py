"""Work in processes of its own."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sarlp.apps.processes import Processes, _to_send
from sarlp.errors import UserError, UserValueError, check_threshold

WAITS = """
import sys, time
from sarlp.apps.processes import Processes
if __name__ == '__main__':
    Processes().call('waiting', exec, f'import os, time; print(os.getpid(), flush=True); time.sleep(600)')
"""


def test_what_is_returned_and_what_is_raised():
    processes = Processes()
    assert processes.call('a power', pow, 7, 11, 1009) == pow(7, 11, 1009)
    with pytest.raises(UserValueError, match='threshold must be a number from 0 to 1, got 3') as refused:
        processes.call('a threshold', check_threshold, 3)
    assert 'in check_threshold' in str(refused.value.__cause__)  # where it was, in the other process
    with pytest.raises(ZeroDivisionError):
        processes.call('a quotient', divmod, 1, 0)


def test_an_error_that_can_not_be_sent_is_told_in_words():
    class Odd(Exception):
        def __init__(self, number, *, unit):
            super().__init__(f'{number} {unit}')

    sent = _to_send(Odd(3, unit='m'))
    assert type(sent) is RuntimeError and str(sent) == 'Odd: 3 m'


def test_a_process_that_was_killed_is_told():
    with pytest.raises(UserError, match='fold 3: its process ended with -9, killed by another, .*memory'):
        Processes().call('fold 3', exec, f'import os; os.kill(os.getpid(), {int(signal.SIGKILL)})')


def test_nothing_begins_after_the_end():
    processes = Processes()
    processes.stop()
    with pytest.raises(UserError, match='fold 5: not begun. The same command goes on'):
        processes.call('fold 5', print, 'never')


SAVES = """
import pathlib, signal, time
file = pathlib.Path({file!r})
def stop(*_):
    time.sleep(0.5)  # as long as it takes to save
    file.write_text(file.read_text() + ' saved')
    raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
file.write_text('begun')
time.sleep(600)
"""


def test_what_is_stopped_twice_is_asked_once(tmp_path):
    """The second SIGTERM would come while it saves."""
    processes, file = Processes(), tmp_path / 'state'

    def stop():
        while not file.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        processes.stop()
        processes.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(UserError, match='a training: its process ended with 143'):
        processes.call('a training', exec, SAVES.format(file=str(file)), {})
    thread.join()
    assert file.read_text() == 'begun saved'


def test_who_was_killed_leaves_nobody_behind(tmp_path):
    script = tmp_path / 'waits.py'
    script.write_text(WAITS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    for _ in range(600):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f'{child} is still there')
