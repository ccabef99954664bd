"""Where things live: what may import what, and how large a module may be."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / 'sarlp'
APPLICATIONS = ('apps', 'commands')  # over files and people; what a researcher reads does not know them
MODULES = sorted(PACKAGE.rglob('*.py'))


def name_of(path):
    return '.'.join(path.relative_to(REPOSITORY).with_suffix('').parts)


def imports(path):
    """Modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: a relative import'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def rooms_of(folder):
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name not in ('__pycache__', '.mim')}


def test_the_rooms_are_these():
    rooms = rooms_of(PACKAGE)
    assert rooms >= {
        'datasets',
        'engine',
        'evaluation',
        'inference',
        'io',
        'losses',
        'methods',
        'models',
        *APPLICATIONS,
    }
    for room in rooms:
        assert len([*(PACKAGE / room).glob('[!_]*')]) >= 2, f'{room} has no siblings to keep apart from others'


def test_each_room_has_its_tests():
    assert rooms_of(REPOSITORY / 'tests') == {'data', *(f'test_{room}' for room in rooms_of(PACKAGE))}


def test_few_modules_lie_loose():
    assert len([path for path in PACKAGE.glob('*.py') if path.name != '__init__.py']) <= 6


def test_the_core_knows_no_applications():
    loose = ('__init__.py', '__main__.py')  # the front door names what is behind it, when it is asked for
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in (*APPLICATIONS, *loose):
            continue
        for module in imports(path):
            assert not module.startswith(tuple(f'sarlp.{name}' for name in APPLICATIONS)), (path, module)


def test_methods_know_no_run_and_no_files():
    for path in (PACKAGE / 'methods').glob('*.py'):
        for module in imports(path):
            assert not module.startswith(('sarlp.engine', 'sarlp.io', 'sarlp.datasets', 'mmengine.runner')), (
                path,
                module,
            )


def test_networks_know_no_labels():
    """But for the classifier, which wires both."""
    for path in (PACKAGE / 'models').glob('*.py'):
        if path.name != 'classifier.py':
            for module in imports(path):
                assert not module.startswith(('sarlp.methods', 'sarlp.losses', 'sarlp.engine')), (path, module)


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_a_module_is_short(path):
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 350


def test_what_ships_uses_nothing_for_tests():
    for path in MODULES:
        for module in imports(path):
            assert not module.startswith(('unittest', 'pytest', 'tests')), (path, module)


def test_no_page_has_the_marks_of_a_merge():
    pages = [*REPOSITORY.glob('*.md'), *REPOSITORY.glob('docs/*.md'), *REPOSITORY.glob('configs/**/*.py')]
    assert len(pages) > 100
    marked = [page for page in pages if {'<<<<<<<', '>>>>>>>'} & {line[:7] for line in page.read_text().splitlines()}]
    assert not marked
