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


BEGINS = """
import os, signal, threading, time
import torch
from concurrent.futures import ThreadPoolExecutor
from sarlp.apps.processes import Processes
if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background have it ignored
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(Processes().call, 'a second', time.sleep, 1)
        threading.Timer(0.3, os.killpg, (0, signal.SIGINT)).start()
        try:
            done.result()
        except KeyboardInterrupt:
            print('interrupted')
"""


def run(script, words=(), **options):
    return subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, start_new_session=True, **options
    )


def test_ctrl_c_while_they_begin_leaves_no_traceback(tmp_path):
    (tmp_path / 'begins.py').write_text(BEGINS)
    done = run(tmp_path / 'begins.py')
    assert (done.stdout, done.stderr) == ('interrupted\n', '')


STOPS = """
import os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sarlp.apps.processes import Processes
if __name__ == '__main__':
    folder = Path(sys.argv[1])
    def stop():
        while not (folder / 'state').exists():
            time.sleep(0.01)
        os.killpg(0, signal.SIGTERM)
    threading.Thread(target=stop, daemon=True).start()
    processes = Processes()
    try:
        with processes.stopped_with_this_one(), ThreadPoolExecutor(1) as pool:
            pool.submit(processes.run, ['train', str(folder / 'config.py')], folder / 'log').result()
    finally:
        print((folder / 'state').read_text())
"""


def test_who_signals_all_of_them_lets_them_save(tmp_path):
    """As SLURM does, and timeout: the process they are copied from would be gone, and nobody told of their ends."""
    (tmp_path / 'stops.py').write_text(STOPS)
    (tmp_path / 'config.py').write_text(f'exec({SAVES.format(file=str(tmp_path / "state"))!r}, {{}})\n')
    done = run(tmp_path / 'stops.py', [tmp_path])
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, 'begun saved\n'), (tmp_path / 'log').read_text()


@pytest.mark.skipif(sys.version_info < (3, 11), reason='of Python 3.10 it is')
def test_what_lies_in_the_present_folder_is_not_imported(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'random.py').write_text('print("mine")\n')
    (tmp_path / 'script.py').write_text(WAITS.replace('time.sleep(600)', 'print(os.getcwd())'))
    done = run(tmp_path / 'script.py', cwd=tmp_path / 'elsewhere')
    _, folder = done.stdout.splitlines()
    assert (folder, done.stderr) == (str(tmp_path / 'elsewhere'), '')


UNGUARDED = """
from sarlp.apps.completion.complete import check_processes
from sarlp.apps.processes import Processes
check_processes(2)
Processes().call('fold 3', print)
"""


def test_a_script_that_begins_them_as_it_is_read(tmp_path):
    (tmp_path / 'script.py').write_text(UNGUARDED)
    done = run(tmp_path / 'script.py')
    own, of_parent = (line for line in done.stderr.splitlines() if line.startswith('sarlp.errors.UserError: '))
    assert own.startswith('sarlp.errors.UserError: this script is read by a process that it began. A script that ')
    assert 'fold 3: its process ended with 1, and what it said is above. A script that works in several' in of_parent


def test_a_script_that_came_by_the_standard_input():
    script = (
        "from sarlp.apps.processes import Processes; print(Processes().call('a power', pow, 7, 11, 1009), __file__)"
    )
    done = run('-', input=script)
    assert (done.stdout, done.stderr) == (f'{pow(7, 11, 1009)} <stdin>\n', '')


def test_the_environment_is_that_of_now(monkeypatch):
    for value in ('three', 'five'):
        monkeypatch.setenv('SARLP_OF_NOW', value)
        assert Processes().call('a variable', os.getenv, 'SARLP_OF_NOW') == value


def test_one_that_ends_without_a_result_is_told():
    with pytest.raises(UserError, match='fold 3: its process ended with 0. The same command goes on'):
        Processes().call('fold 3', sys.exit)
