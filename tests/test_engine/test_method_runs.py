"""Methods with a state, two views, a teacher or mixing, from their config: interrupted and resumed to the last bit."""

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.engine.training.method_hook import MethodHook

from .conftest import reduced
from .test_resuming import same

# what lets each of them do in two epochs of three steps all that it does
OPTIONS = {
    'apl': {'model.method.warmup': 1},
    'cap': {'model.method.warmup': 1},
    'd2l': {},
    'lac': {'model.method.threshold': 0.5001},
    'logicmix': {},
    'plcl': {'model.method.every': 1},
    'role': {},
    'sarb': {'model.method.start': 1, 'model.method.prototypes': 2},
    'sst': {'model.method.start': 1, 'model.method.within_margin': 0.5, 'model.method.across_margin': 0.5},
    'st': {'model.method.threshold': 0.5001},
}


def small_config(name, digits, **options):
    """Of a method by its name, to run in seconds, with what lets it do all that it does."""
    plain = load_config(f'{name}_r18_digits_p0.1')
    over = 'sarlp' if plain.model.head.type == 'SARLPHead' else 'baseline'
    return load_config(f'{name}_r18_digits_p0.1', {**reduced(digits, over), **OPTIONS.get(name, {}), **options})


class Stop(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 3:  # in the second epoch
            raise KeyboardInterrupt


class Losses(Hook):
    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: value.item() for name, value in outputs.items()})


@pytest.fixture
def run(digits, tmp_path):
    def start(name, work, stop=False):
        cfg = small_config(
            name, digits, **{'default_hooks.checkpoint.iter_interval': 4, 'work_dir': str(tmp_path / work)}
        )
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        cfg.resume = not stop
        runner = build_runner(cfg)
        losses = Losses()
        runner.register_hook(losses, 'VERY_LOW')
        if stop:
            runner.register_hook(Stop(), 'LOWEST')
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        else:
            runner.train()
        return runner, losses.seen

    return start


@pytest.mark.parametrize('first', [1, 2])
@pytest.mark.parametrize(
    ('name', 'option'), [('apl', 'warmup'), ('plcl', 'every'), ('sarb', 'start'), ('sst', 'start')]
)
def test_a_run_that_ends_before_its_method_begins_says_so(name, option, first, digits, tmp_path):
    options = {f'model.method.{option}': first, 'train_cfg.max_epochs': 2, 'work_dir': str(tmp_path)}
    cfg = small_config(name, digits, **options)
    runner = build_runner(cfg)
    hook = next(hook for hook in runner.hooks if isinstance(hook, MethodHook))
    warnings = []
    runner.logger.warning = warnings.append
    hook.before_train(runner)
    assert len(warnings) == first - 1
    assert all(f'begins with its epoch {first + 1}, and the run has 2' in text for text in warnings)


@pytest.mark.parametrize('name', list(OPTIONS))
def test_resumed_to_the_last_bit(name, run, tmp_path):
    runner, losses = run(name, 'straight')
    assert len(losses) == 6
    for key in losses[0]:
        assert any(step[key] for step in losses), f'{key} is never anything'
    run(name, 'halted', stop=True)
    again, resumed = run(name, 'halted')
    assert resumed == losses[4:]
    one, other = (read_checkpoint(tmp_path / work / 'epoch_2.pth') for work in ('straight', 'halted'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        same(one[key], other[key], key)
    same(one.get('method'), other.get('method'), 'method')
    optimizer = runner.optim_wrapper.optimizer
    trained = [parameter for parameter in runner.model.parameters() if parameter.requires_grad]
    # in every step each got a gradient, for which several processes would wait
    assert [optimizer.state[parameter]['step'].item() for parameter in trained] == [6] * len(trained)
    assert all(torch.isfinite(value).all() for value in runner.model.parameters())
