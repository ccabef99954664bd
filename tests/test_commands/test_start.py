"""What a command does before it does anything: what it imports, and how."""

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers
from mmengine.optim import build_optim_wrapper

from sarlp import commands
from sarlp.commands.friendly import friendly_errors

# each takes a tenth of a second to three
UNWANTED = {
    *('transformers', 'peft', 'accelerate', 'open_clip', 'timm'),
    *('sklearn', 'scipy', 'pandas', 'matplotlib', 'tensorboard', 'jinja2', 'flask', 'onnx', 'onnxruntime'),
}
CODE = """
import sys
from sarlp.commands import main
main(sys.argv[1:])
print(*{name.partition('.')[0] for name in sys.modules})
"""


def imported(*arguments):
    """Packages that a process has imported when a command has ended."""
    done = subprocess.run([sys.executable, '-c', CODE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {*done.stdout.splitlines()[-1].split()}


def test_a_prediction_imports_what_it_needs(place):
    found = imported(
        'predict', place.config(), place.checkpoint(), place.root / '0.png', '--out', place.root / 'out.csv'
    )
    assert found >= {'torch', 'mmpretrain', 'sarlp'}
    assert not found & UNWANTED


@pytest.fixture
def command(monkeypatch):
    """Let ``sarlp list`` be another: ``command(main)``."""
    return lambda main: monkeypatch.setattr(
        commands.importlib, 'import_module', lambda name: SimpleNamespace(main=main)
    )


def test_garbage_is_collected_but_for_the_imports(command):
    seen = []

    def main():
        seen.append(gc.isenabled())
        with friendly_errors():
            seen.append(gc.isenabled())

    command(main)
    commands.main(['list'])
    assert [*seen, gc.isenabled()] == [False, True, True]


def test_garbage_is_collected_after_a_refusal(command):
    command(lambda: sys.exit(2))
    with pytest.raises(SystemExit):
        commands.main(['list'])
    assert gc.isenabled()


def test_the_optimizer_of_transformers_is_still_there():
    """MMEngine would import it at the start."""
    model = torch.nn.Linear(3, 2)
    options = dict(type='Adafactor', lr=0.01, relative_step=False)
    wrapper = build_optim_wrapper(model, dict(optimizer=options))
    assert type(wrapper.optimizer) is transformers.Adafactor
    assert wrapper.optimizer.param_groups[0]['params'] == [*model.parameters()]
    assert wrapper.optimizer.defaults['lr'] == 0.01
