"""A config file that is wrong is told by its file and line."""

import pytest

from sarlp.engine import load_config
from sarlp.engine.config.file import read_config
from sarlp.errors import UserError

BASE = "_base_ = 'configs/baseline/baseline_r18_digits_p0.1.py'\n"


def said(folder, text, name='mine.py'):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        load_config(folder / name)
    return str(error.value)


@pytest.mark.parametrize(
    ('text', 'line', 'reason'),
    [
        ('model = dict(\n', 1, "SyntaxError: '(' was never closed"),
        (f'{BASE}\nlr = rate\n', 3, "NameError: name 'rate' is not defined"),
        (f'{BASE}lr = _base_.nope\n', 2, "AttributeError: 'ConfigDict' object has no attribute 'nope'"),
        ('x = 1 / 0\n', 1, 'ZeroDivisionError: division by zero'),
    ],
)
def test_lines(tmp_path, text, line, reason):
    assert said(tmp_path, text) == f'{tmp_path / "mine.py"}, line {line}: {reason}; correct the config'


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('_base_ = 3\n', 'TypeError: '),
        (f'{BASE}param_scheduler = dict(type="OneCycleLR")\n', 'TypeError: param_scheduler='),
        (f'{BASE}model = dict(backbone=dict(depth=dict(a=1)))\n', 'TypeError: depth='),
        (f'_base_ = [{BASE[9:-1]}, "configs/sarlp/sarlp_r18_digits_p0.1.py"]\n', 'KeyError: "Duplicate key'),
        (b'# \xe4\n', 'UnicodeDecodeError: '),
    ],
)
def test_files(tmp_path, text, reason):
    message = said(tmp_path, text)
    assert message.startswith(f'{tmp_path / "mine.py"}: {reason}') and message.endswith('; correct the config')


def test_a_base_is_named(tmp_path):
    (tmp_path / 'base.py').write_text('a = 1\nb = a.c\n')
    message = said(tmp_path, "_base_ = './base.py'\n")
    assert message.startswith(f"{tmp_path / 'base.py'}, line 2: AttributeError: 'int' object has no attribute 'c'")


def test_a_name_that_is_taken(tmp_path, monkeypatch):
    (tmp_path / 'taken_name.py').write_text(
        'from sarlp.registry import MODELS\n@MODELS.register_module()\nclass BinaryCrossEntropy: pass\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / 'mine.py'
    file.write_text("custom_imports = dict(imports=['taken_name'])\n")
    with pytest.raises(
        UserError, match=r'BinaryCrossEntropy is already registered in .*\. Give the class another name'
    ):
        load_config(file)


@pytest.mark.parametrize('line', ["custom_imports = dict(imports=['no_such_module'])", 'import no_such_module'])
def test_what_can_not_be_imported(tmp_path, line):
    message = said(tmp_path, f'{"" if line.startswith("import") else BASE}{line}\n')
    assert 'mine.py: ' in message and "No module named 'no_such_module'" in message
    assert message.endswith('must be installed, or lie in a folder that PYTHONPATH names')


def test_errors_of_a_module_are_left_to_its_writer(tmp_path, monkeypatch):
    (tmp_path / 'my_broken_part.py').write_text('1 / 0\n')
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'mine.py').write_text(f"{BASE}custom_imports = dict(imports=['my_broken_part'])\n")
    with pytest.raises(ZeroDivisionError):
        load_config(tmp_path / 'mine.py')


@pytest.mark.parametrize(
    ('lines', 'key', 'instead'),
    [
        ('import torch\noptim_wrapper = dict(optimizer=dict(type=torch.optim.SGD))', 'optimizer.type', "name, 'SGD'"),
        ("from pathlib import Path\ndata_root = Path('photos')", 'data_root', "str(PosixPath('photos'))"),
        ("optim_wrapper = dict(clip_grad=dict(max_norm=float('inf')))", 'clip_grad.max_norm', 'a large number'),
    ],
)
def test_what_no_copy_can_hold(tmp_path, lines, key, instead):
    message = said(tmp_path, f'{BASE}{lines}\n')
    assert message.startswith(f'{tmp_path / "mine.py"}: ') and f'{key} is ' in message and instead in message


@pytest.mark.parametrize(
    'value', ['np.float32(0.5)', 'np.int64(3)', 'np.bool_(True)', 'None', '(1, 2.5)', '[{7}, range(3)]']
)
def test_what_a_copy_holds(tmp_path, value):
    """The same as MMEngine's copy of it."""
    (tmp_path / 'mine.py').write_text(f'{BASE}import numpy as np\nmodel = dict(head=dict(in_channels={value}))\n')
    cfg = load_config(tmp_path / 'mine.py')
    cfg.dump(tmp_path / 'copy.py')
    copy = load_config(tmp_path / 'copy.py').model.head.in_channels
    assert copy == cfg.model.head.in_channels


def test_a_class_that_mmengine_imports_is_written_by_name(tmp_path):
    (tmp_path / 'mine.py').write_text('from torch.optim import SGD\noptimizer = dict(type=SGD)\n')
    read_config(tmp_path / 'mine.py').dump(tmp_path / 'copy.py')
    assert 'torch.optim.SGD' in (tmp_path / 'copy.py').read_text()
    (tmp_path / 'mine.py').write_text("from torch.optim import SGD\noptimizer = dict(type=SGD, lr=float('inf'))\n")
    with pytest.raises(UserError, match='optimizer.lr is inf'):
        read_config(tmp_path / 'mine.py')
