"""What CONTRIBUTING.md shows is applied to a copy of the project and its tests are run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SECTIONS = re.split(r'^## ', (REPOSITORY / 'CONTRIBUTING.md').read_text(encoding='utf-8'), flags=re.M)
DIFFS = [
    (section.splitlines()[0], diff)
    for section in SECTIONS
    for diff in re.findall(r'^```diff\n(.*?)^```', section, re.S | re.M)
]


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp('project')
    for name in ('sarlp', 'configs', 'tests', 'tools'):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(REPOSITORY / 'pyproject.toml', copy)
    return copy


def run(project, *command):
    env = {**os.environ, 'PYTHONPATH': str(project)}
    return subprocess.run([*map(str, command)], cwd=project, env=env, capture_output=True, text=True)


def test_there_are_diffs():
    assert [title for title, _ in DIFFS] == [
        'A loss',
        'A method with a teacher and a label store',
        'A backbone',
        'A layout of data',
    ]


@pytest.mark.parametrize(('title', 'diff'), DIFFS, ids=[title for title, _ in DIFFS])
def test_a_new_part(project, title, diff):
    (project / 'part.diff').write_text(diff)
    files = re.findall(r'^\+\+\+ b/(.+)$', diff, re.M)
    applied = run(project, 'git', 'apply', 'part.diff')
    assert applied.returncode == 0, applied.stderr
    # one file, one config, one test, and all of them new
    assert [Path(file).parts[0] for file in files] == ['sarlp', 'configs', 'tests']
    assert diff.count('new file mode') == len(files) and all((project / file).is_file() for file in files)
    style = run(project, sys.executable, '-m', 'ruff', 'check', *files)
    assert style.returncode == 0, style.stdout
    tested = run(project, sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', files[-1])
    assert tested.returncode == 0, tested.stdout[-3000:]
    assert '1 passed' in tested.stdout
