"""The options that make training fast: the config that has them all, and each by itself."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from sarlp._stack import guard_config
from sarlp.engine import EMAFromStartHook, build_runner, compile_parts, load_config, read_checkpoint
from sarlp.engine.records.resuming import adapt_resumed
from sarlp.errors import UserError

from .conftest import LOADERS, reduced

FAST = 'sarlp_r101_coco_fast_p0.1'
# with 4 channels, as the other tests have, oneDNN's strided 1x1 convolution writes past its memory in channels_last
EIGHT_CHANNELS = {'model.backbone.base_channels': 8, 'model.backbone.stem_channels': 8, 'model.head.in_channels': 64}
COMPILING = pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch hides it


@pytest.fixture(autouse=True)
def torch_settings():
    """What a Runner sets for its whole process."""
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    yield
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.benchmark = kept[1]


def fast_config(digits, work_dir, **options):
    """The config itself, on the scenes of digits, with a small ResNet, and not compiled, which takes minutes."""
    small = reduced(digits)
    for loader in LOADERS:
        split = 'trainval' if loader == 'train_dataloader' else 'test'
        small |= {f'{loader}.dataset.ann_file': f'labels/{split}.json', f'{loader}.dataset.pipeline.0.scale': (64, 64)}
    small |= EIGHT_CHANNELS | {
        'model.backbone.depth': 18,
        'model.backbone.init_cfg': None,
        'model.head.label_embedding.file': None,
    }
    return load_config(FAST, {**small, 'compile': False, 'work_dir': str(work_dir), **options})


class Killed(Exception):
    pass


class Kill(Hook):
    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            raise Killed


class Watch(Hook):
    """What is computed in which dtype."""

    def before_train(self, runner):
        self.dtypes = {}
        for name in ('backbone.layer2', 'head.recovery.score', 'method.known_loss'):
            runner.model.get_submodule(name).register_forward_hook(partial(self._note, name))

    def _note(self, name, module, args, output):
        self.dtypes.setdefault(name, output.dtype)  # of the first step; nothing is evaluated in autocast


def test_the_config_differs_in_speed_only():
    fast, plain = load_config(FAST).to_dict(), load_config('sarlp_r101_coco_p0.1').to_dict()
    assert fast['optim_wrapper'].pop('type') == 'MixedPrecisionOptimWrapper'
    assert fast['optim_wrapper'].pop('dtype') == 'bfloat16'
    assert plain['optim_wrapper'].pop('type') == 'OptimWrapper'
    for key in ('tf32', 'cudnn_benchmark'):
        assert (fast['env_cfg'].pop(key), plain['env_cfg'].pop(key)) == (True, False)
    fast.pop('load')  # a name within the file
    for loader in LOADERS:  # read and resized in one; what follows is the same
        own, of_plain = (cfg[loader]['dataset'].pop('pipeline') for cfg in (fast, plain))
        assert [step['type'] for step in of_plain[:2]] == ['LoadImage', 'Resize']
        assert own[0]['scale'] == of_plain[1]['scale']
        assert own[1:] == of_plain[2:]
    for key, of_plain in (('channels_last', None), ('compile', None), ('work_dir', 'work_dirs/sarlp_r101_coco_p0.1')):
        assert fast.pop(key) and plain.pop(key, None) == of_plain
    assert fast == plain


def test_fast_config_trains_and_resumes_to_the_last_bit(digits, tmp_path):
    assert torch.get_float32_matmul_precision() == 'highest'
    runner = build_runner(fast_config(digits, tmp_path / 'straight'))
    assert torch.get_float32_matmul_precision() == 'high'
    assert torch.backends.cudnn.benchmark
    watch = Watch()
    runner.register_hook(watch, 'LOWEST')
    start = copy.deepcopy(runner.model.state_dict())
    runner.train()
    assert watch.dtypes == {
        'backbone.layer2': torch.bfloat16,
        'head.recovery.score': torch.bfloat16,
        'method.known_loss': torch.float32,
    }
    assert runner.optim_wrapper.optimizer.defaults['fused'] is True
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAFromStartHook))
    for model in (runner.model, hook.ema_model.module):
        assert model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    moved = 0
    for name, parameter in runner.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
        moved += not torch.equal(parameter, start[name])
    assert moved > 50

    with pytest.raises(Killed):
        interrupted = build_runner(fast_config(digits, tmp_path / 'resumed'))
        interrupted.register_hook(Kill(), 'VERY_HIGH')
        interrupted.train()
    torch.manual_seed(99)
    build_runner(fast_config(digits, tmp_path / 'resumed', resume=True)).train()
    straight, resumed = (read_checkpoint(tmp_path / name / 'epoch_2.pth') for name in ('straight', 'resumed'))
    assert resumed['meta']['iter'] == straight['meta']['iter'] == 6
    for part in ('state_dict', 'ema_state_dict'):
        assert straight[part].keys() == resumed[part].keys()
        for key, value in straight[part].items():
            assert torch.equal(resumed[part][key], value), key
    for index, state in straight['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(resumed['optimizer']['state'][index][key], value), (index, key)


@pytest.mark.parametrize('before, after', [('plain', 'fast'), ('fast', 'plain')])
def test_a_run_goes_on_with_or_without_fused_adamw_and_channels_last(make_config, tmp_path, before, after):
    """They only round differently, whatever the run before had."""

    def train(kind, folder, **options):
        fast = kind == 'fast'
        options |= {'channels_last': fast, 'optim_wrapper.optimizer.fused': fast, **EIGHT_CHANNELS}
        cfg = make_config(**options)
        cfg.work_dir = str(tmp_path / folder)
        runner = build_runner(cfg)
        weights = runner.train().state_dict()
        assert runner.optim_wrapper.param_groups[0]['fused'] is fast
        return weights

    expected = train(before, 'straight')
    checkpoint = tmp_path / 'straight' / 'epoch_1.pth'
    actual = train(after, 'resumed', load_from=str(checkpoint), resume=True)
    start = read_checkpoint(checkpoint)['ema_state_dict']
    for key, value in expected.items():
        if (
            value.ndim == 4
        ):  # whose layout differs; AdamW makes steps of full length of a gradient that is only rounding
            way = (value - start[f'module.{key}']).norm()
            assert way > 0
            assert (actual[key] - value).norm() < 1e-3 * way, key


@pytest.mark.parametrize('fused', [False, True])
def test_optimizer_state_is_laid_out_as_its_parameter(fused):
    torch.manual_seed(0)
    gradients = torch.randn(3, 5, 7, 3, 3)
    start = torch.randn(5, 7, 3, 3)

    def optimizer(of, layout):
        parameter = nn.Parameter(of.clone(memory_format=layout))
        return torch.optim.AdamW([parameter], lr=1e-2, fused=fused), parameter

    def step(pair, gradient):
        pair[1].grad = torch.empty_like(pair[1]).copy_(gradient)
        pair[0].step()

    expected = optimizer(start, torch.contiguous_format)
    step(expected, gradients[0])
    state = copy.deepcopy(expected[0].state_dict())
    other = optimizer(expected[1].detach(), torch.channels_last)
    other[0].load_state_dict(state)
    adapt_resumed(other[0])
    for gradient in gradients[1:]:
        step(expected, gradient)
        step(other, gradient)
    torch.testing.assert_close(other[1], expected[1], rtol=1e-6, atol=1e-7)
    assert other[0].state[other[1]]['step'] == 3


def test_optimizer_without_memory_stays_without():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(3))], fused=True)
    optimizer.param_groups[0]['fused'] = None
    adapt_resumed(optimizer)
    assert optimizer.param_groups[0]['fused'] is True
    assert not optimizer.state


@pytest.mark.parametrize('settings', [dict(), dict(tf32=False)])
def test_other_configs_keep_float32(make_runner, settings):
    torch.set_float32_matmul_precision('high')
    runner = make_runner('baseline', **{f'env_cfg.{key}': value for key, value in settings.items()})
    assert torch.get_float32_matmul_precision() == 'highest'
    assert not torch.backends.cudnn.benchmark
    assert not runner.model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@COMPILING
@pytest.mark.parametrize('backend', ['eager', pytest.param('aot_eager', marks=pytest.mark.slow)])
def test_compiled_parts_are_one_graph_each_and_equal(make_runner, backend):
    """A break of a graph would be an error here. The names of the weights stay as they are."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain = make_runner(**{'model.head.sgfe.dropout': 0.0}).model.train()
    compiled = copy.deepcopy(plain)
    compile_parts(compiled, dict(backend=backend, fullgraph=True, dynamic=False))
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    logits = {}
    for network in (plain, compiled):
        outputs = network(images)
        logits[network] = outputs['logits'], outputs['recovery_logits']
        sum(value.square().sum() for value in logits[network]).backward()
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2
    # what a CUDA graph made is not its own any more at the next step
    assert not any(getattr(part, '_position', None) for part in compiled.modules())
    torch.testing.assert_close(logits[compiled], logits[plain], rtol=1e-4, atol=1e-5)
    for (name, own), other in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-4, msg=name)
    for (name, own), other in zip(compiled.named_buffers(), plain.buffers(), strict=True):  # BatchNorm saw the batch
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6, msg=name)


@COMPILING
def test_there_are_programs_for_every_mode_and_batch_size():
    """Beyond its limit torch would go on uncompiled; ``fullgraph`` makes that an error."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = nn.Module()
    model.backbone, model.head = nn.Sequential(nn.Linear(3, 5), nn.Dropout()), nn.Linear(5, 7)
    compile_parts(model, dict(backend='eager', fullgraph=True, dynamic=False))
    for training in (True, False):
        model.train(training)
        for batch in (2, 3, 5, 7):
            model.head(model.backbone(torch.ones(batch, 3)))
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 8 + 4  # a Linear has no modes


@pytest.mark.parametrize(
    ('value', 'expected'),
    [(True, [{}]), ({}, [{}]), (False, []), (None, []), ({'mode': 'default'}, [{'mode': 'default'}])],
)
def test_compile_in_a_config(make_runner, monkeypatch, value, expected):
    calls = []
    monkeypatch.setattr('sarlp.engine.runner.compile_parts', lambda model, options: calls.append(dict(options or {})))
    runner = make_runner('baseline')
    runner.cfg.compile = value
    runner._maybe_compile('train_step')
    assert calls == expected
    assert 'train_step' not in vars(runner.model)  # MMEngine would replace the whole step


@COMPILING
@pytest.mark.parametrize(
    ('options', 'steps'),
    [
        (dict(mode='reduce-overhead'), 3),
        (dict(options={'triton.cudagraphs': True}), 3),
        (dict(mode='default'), 0),
        ({}, 0),
    ],
)
def test_cuda_graphs_are_told_where_a_step_begins(monkeypatch, options, steps):
    """Once for each forward pass of the model, however often it calls its parts."""
    begun = []
    monkeypatch.setattr('torch.compiler.cudagraph_mark_step_begin', lambda: begun.append(1))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = nn.Linear(3, 5), nn.Linear(5, 7)

        def forward(self, x):
            return self.head(self.backbone(x)) + self.head(self.backbone(2 * x))

    model = Model()
    compile_parts(model, dict(backend='eager', **options))
    for _ in range(3):
        model(torch.ones(2, 3)).sum().backward()
    assert len(begun) == steps


def test_cuda_graphs_do_not_accumulate(make_runner):
    runner = make_runner('baseline', **{'optim_wrapper.accumulative_counts': 2})
    runner.cfg.compile = dict(mode='reduce-overhead')
    with pytest.raises(UserError, match=r'compile.mode.*optim_wrapper.accumulative_counts'):
        runner._maybe_compile('train_step')


def test_the_text_of_a_config_is_laid_out_once():
    calls = []

    def lay_out(text, **options):
        calls.append((text, options))
        return text.upper(), True

    module = SimpleNamespace(FormatCode=lay_out)
    guard_config(module)
    style = dict(based_on_style='pep8')
    texts = [module.FormatCode(text, style_config=style)[0] for text in ('a = 1', 'b = 2', 'a = 1')]
    assert texts == ['A = 1', 'B = 2', 'A = 1']
    assert calls == [('a = 1', {'style_config': style}), ('b = 2', {'style_config': style})]
