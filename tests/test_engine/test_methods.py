"""The contract between a method and the run, kept by a method that uses all of it."""

import gc
import types

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.engine.config.earlier import upgrade
from sarlp.engine.training.ema import EMAFromStartHook, ForeachEMA
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.methods import KnownLabels, LabelStore, Method, Teacher
from sarlp.registry import METHODS

from .test_ranks import HERE, torchrun
from .test_resuming import same

LOSS = dict(type='AsymmetricLoss', reduction='sum')
PACK = dict(type='PackMultiLabel')
VIEWS = [
    dict(type='LoadImage'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Views', weak=[PACK], strong=[dict(type='RandomCutout', ratio=0.5), PACK]),
]


@METHODS.register_module()
class Everything(KnownLabels):
    """Two views, a teacher, a label store and a parameter of its own."""

    views = ('weak', 'strong')
    lr_mult = {'mix': 10.0}

    def __init__(self, loss):
        super().__init__(loss)
        self.mix = nn.Parameter(torch.zeros(()))
        self.teacher = Teacher()
        self.calls = []

    def before_train(self, task):
        self.task = task
        self.store = LabelStore(task.num_images, task.num_classes, fill=0.5)

    def loss(self, network, batch):
        taught = self.teacher(batch.images['weak'])['logits'].sigmoid()
        belief = self.mix.sigmoid() * taught + (1 - self.mix.sigmoid()) * self.store.read(batch.index)
        self.store.write(batch.index, belief)
        self.calls.append((batch.epoch, batch.step, batch.num_steps, batch.ids))
        logits = network(batch.images['strong'])['logits']
        pull = (logits.sigmoid() - belief).square().mean()
        return {**self.losses({'logits': logits}, batch.observed), 'loss_pull': pull, 'mix': self.mix.detach()}

    def after_step(self):
        self.calls.append('step')

    def after_epoch(self):
        self.calls.append('epoch')


@METHODS.register_module()
class Spy(KnownLabels):
    """Looks for the complete labels in everything that can be reached from what it is given."""

    def loss(self, network, batch):
        Spy.found = [value for value in reachable(batch, network, self) if is_labels(value)]
        return super().loss(network, batch)


def is_labels(value):
    return isinstance(value, torch.Tensor | np.ndarray) and value.ndim and value.shape[-1] == 10 and value.ndim < 3


def reachable(*roots):
    """Objects that can be reached by references, but through code and modules, which lead to the whole process."""
    closed = (types.ModuleType, types.FunctionType, types.MethodType, types.FrameType, type)
    seen, waiting = {}, list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, closed):
            continue
        seen[id(value)] = value
        waiting += gc.get_referents(value)
        if isinstance(value, nn.Module | types.SimpleNamespace) or hasattr(value, '__dict__'):
            waiting += list(vars(value).values())
    return seen.values()


def everything(make_config, **options):
    cfg = make_config('baseline', **options)
    cfg.model.method = dict(type='Everything', loss=LOSS)
    cfg.train_dataloader.dataset.pipeline = VIEWS
    return cfg


class Watch(Hook):
    def before_train(self, runner):
        self.model = runner.model
        self.average = next(h for h in runner.hooks if isinstance(h, EMAFromStartHook)).ema_model

    def after_train_epoch(self, runner):
        images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
        taught = runner.model.method.teacher(images)
        self.gradient = taught['logits'].requires_grad
        self.taught = taught['logits']
        self.averaged = self.average.module.eval()(images)['logits'].detach()


@pytest.fixture
def straight(make_config, tmp_path):
    """A run of two epochs, seen from the outside."""
    cfg = everything(make_config)
    runner = build_runner(cfg)
    watch = Watch()
    runner.register_hook(watch, 'VERY_LOW')
    runner.train()
    return runner, watch, tmp_path / 'work'


def test_a_run_of_a_method_that_uses_all_of_it(straight, digits):
    runner, watch, work = straight
    method = runner.model.method
    assert (method.task.num_images, method.task.num_classes) == (24, 10)
    labels = [runner.train_dataloader.dataset.get_labels(i)[1] for i in range(24)]
    assert method.task.known_positive.tolist() == (np.stack(labels) == 1).sum(0).tolist()
    assert method.task.known_negative.tolist() == (np.stack(labels) == 0).sum(0).tolist()

    steps = [call for call in method.calls if isinstance(call, tuple)]
    assert [call[:3] for call in steps] == [(n // 3, n, 6) for n in range(6)]
    names = [runner.train_dataloader.dataset.get_labels(i)[0] for i in range(24)]
    for epoch in (steps[:3], steps[3:]):
        assert sorted(name for call in epoch for name in call[3]) == sorted(names)
    kinds = [call if isinstance(call, str) else 'loss' for call in method.calls]
    assert kinds == (['loss', 'step'] * 3 + ['epoch']) * 2
    assert not (method.store.values == 0.5).all(1).any()  # each image was written

    assert torch.equal(watch.taught, watch.averaged)
    assert watch.gradient is False
    assert all(parameter.grad is None for parameter in watch.average.parameters())

    groups = runner.optim_wrapper.optimizer.param_groups
    (own,) = (group for group in groups if any(parameter is method.mix for parameter in group['params']))
    others = {group['lr'] for group in groups if group is not own}
    assert [*others] == [pytest.approx(own['lr'] / 10)]
    assert method.mix.item() != 0

    checkpoint = read_checkpoint(work / 'epoch_2.pth')
    assert not [key for key in (*checkpoint['state_dict'], *checkpoint['ema_state_dict']) if 'method' in key]
    assert checkpoint['method']['type'] == 'Everything'
    assert torch.equal(checkpoint['method']['state_dict']['store.values'], method.store.values)
    assert not [name for name, _ in watch.average.named_parameters() if 'method' in name]

    cfg = load_config('baseline_r18_digits_p0.1', {})
    cfg.model = runner.cfg.model
    model = init_model(cfg, work / 'epoch_2.pth', 'cpu')
    assert model.method is None
    assert model(torch.zeros(1, 3, 48, 48))['logits'].shape == (1, 10)


def test_resumed_to_the_last_bit(straight, make_config, tmp_path):
    runner, _, work = straight

    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 4:  # in the second epoch
                raise KeyboardInterrupt

    options = {'work_dir': str(tmp_path / 'again')}
    first = build_runner(everything(make_config, **options))
    first.register_hook(Stop(), 'VERY_LOW')
    with pytest.raises(KeyboardInterrupt):
        first.train()
    cfg = everything(make_config, **options)
    cfg.resume = True
    second = build_runner(cfg)
    second.train()
    one, other = read_checkpoint(work / 'epoch_2.pth'), read_checkpoint(tmp_path / 'again' / 'epoch_2.pth')
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'method'):
        same(one[key], other[key], key)


def test_a_run_is_not_resumed_by_another_method(straight, make_config):
    cfg = make_config('baseline')
    cfg.resume = True
    with pytest.raises(UserError, match='the state of Everything, the config has KnownLabels.*resume with the method'):
        build_runner(cfg).train()


def test_hidden_labels_can_not_be_reached(make_config):
    cfg = make_config('baseline', **{'train_dataloader.dataset.label_mask.known_ratio': 0.1})
    cfg.model.method = dict(type='Spy', loss=LOSS)
    cfg.train_cfg.max_epochs = 1
    runner = build_runner(cfg)
    dataset = runner.train_dataloader.dataset
    full = {dataset.get_labels(i)[2].astype(float).tobytes() for i in range(24)}
    runner.train()
    tables = [np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value) for value in Spy.found]
    rows = [row.astype(float).tobytes() for table in tables for row in np.atleast_2d(table)]
    assert any(np.frombuffer(row).tolist().count(-1) for row in rows)  # it does look at labels: the observed ones
    assert not full & set(rows)


def test_the_search_would_find_them(make_config):
    """As they are in a sample for testing."""
    dataset = build_runner(make_config('baseline')).train_dataloader.dataset
    dataset.test_mode = True
    found = [value for value in reachable(dataset[0]['data_samples']) if is_labels(value)]
    assert any(np.array_equal(np.asarray(value), dataset.get_labels(0)[2]) for value in found)


def test_views_that_the_data_do_not_give(make_config):
    cfg = make_config('baseline')
    cfg.model.method = dict(type='Everything', loss=LOSS)
    with pytest.raises(UserError, match=r"wants the views weak, strong .* have image; .*type='Views', weak=\[...\]"):
        build_runner(cfg).train()
    cfg = everything(make_config)
    cfg.model.method = dict(type='KnownLabels', loss=LOSS)
    with pytest.raises(UserError, match='KnownLabels wants the views image .* have weak, strong; .*PackMultiLabel'):
        build_runner(cfg).train()


def test_a_teacher_needs_the_average(make_config):
    cfg = everything(make_config)
    cfg.default_hooks.ema = None
    cfg.default_hooks.checkpoint.save_best = None
    with pytest.raises(UserError, match='Everything is taught by the average of the weights, and default_hooks.ema'):
        build_runner(cfg).train()
    with pytest.raises(RuntimeError, match='has no network yet'):
        Teacher()(torch.zeros(1, 3, 8, 8))


class TestViews:
    @pytest.fixture
    def dataset(self, make_config):
        def make(pipeline, epoch=0):
            cfg = make_config('baseline')
            cfg.train_dataloader.dataset.pipeline = pipeline
            dataset = build_runner(cfg).train_dataloader.dataset
            dataset.set_epoch(epoch)
            return dataset

        return make

    def views(self, **names):
        return [dict(type='LoadImage'), dict(type='Views', **names)]

    cut = [dict(type='RandomCutout', ratio=0.5), PACK]

    def test_the_first_is_the_view_of_a_run_with_one(self, dataset):
        one = dataset([dict(type='LoadImage'), *self.cut])
        two = dataset(self.views(weak=self.cut, strong=self.cut))
        for index in range(5):
            inputs = two[index]['inputs']
            assert torch.equal(inputs['weak'], one[index]['inputs'])
            assert not torch.equal(inputs['weak'], inputs['strong'])  # cut elsewhere

    def test_a_view_depends_on_its_name_image_and_epoch_alone(self, dataset):
        two = dataset(self.views(weak=[PACK], strong=self.cut))
        three = dataset(self.views(weak=self.cut, other=self.cut, strong=self.cut))
        seen = set()
        for index in (3, 0, 7):
            assert torch.equal(two[index]['inputs']['strong'], three[index]['inputs']['strong'])
            assert not torch.equal(three[index]['inputs']['other'], three[index]['inputs']['strong'])
            seen.add(two[index]['inputs']['strong'].numpy().tobytes())
        two.set_epoch(1)
        seen |= {two[index]['inputs']['strong'].numpy().tobytes() for index in (3, 0, 7)}
        assert len(seen) == 6

    def test_there_must_be_one(self):
        from sarlp.transforms import Views

        with pytest.raises(ValueError, match='at least one pipeline'):
            Views()


class TestLabelStore:
    def test_reads_and_writes_rows(self):
        store = LabelStore(7, 3, fill=-1)
        rows = torch.arange(6.0).view(2, 3).requires_grad_()
        store.write(torch.tensor([5, 2]), rows)
        assert store.read(torch.tensor([2, 5, 0])).tolist() == [[3, 4, 5], [0, 1, 2], [-1, -1, -1]]
        assert not store.values.requires_grad
        assert store.nbytes == 7 * 3 * 4
        store.read(torch.tensor([2])).fill_(9)  # a copy
        assert store.values[2].tolist() == [3, 4, 5]

    def test_of_one_image_twice_the_last_counts(self):
        store = LabelStore(5, 2)
        store.write(torch.tensor([3, 1, 3]), torch.tensor([[1.0, 1], [2, 2], [3, 3]]))
        assert store.values.tolist() == [[0, 0], [2, 2], [0, 0], [3, 3], [0, 0]]

    def test_an_image_without_a_place(self):
        with pytest.raises(UserError, match='no place in the training set'):
            LabelStore(5, 2).read(torch.tensor([0, -1]))

    def test_processes_agree(self, tmp_path, distributed_env):
        found = []
        for ranks in (1, 2, 3):
            done = torchrun(ranks, HERE / 'store_ranks.py', tmp_path / f'{ranks}.pt', env=distributed_env())
            assert done.returncode == 0, done.stderr[-3000:]
            found.append(torch.load(tmp_path / f'{ranks}.pt', weights_only=True))
        assert all(torch.equal(found[0], other) for other in found[1:])
        # by hand: images 0 to 4 once more in the last batch, behind image 12
        expected = [100.0 * (2 if image in (0, 1, 2, 3, 4, 12) else image // 6) + image for image in range(13)]
        assert found[0][:, 0].tolist() == expected


def test_a_method_without_a_loss_says_so():
    with pytest.raises(NotImplementedError, match='Method has no loss'):
        Method().loss(None, None)


def test_the_warm_start_of_the_average():
    torch.manual_seed(0)
    linear = nn.Linear(3, 1)
    average = ForeachEMA(linear, momentum=0.01, warm_start=True, update_buffers=True)
    average.update_parameters(linear)  # copies
    expected = linear.weight.detach().clone()
    for step in range(1, 7):
        with torch.no_grad():
            linear.weight.add_(step)
        average.update_parameters(linear)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * linear.weight.detach()
    torch.testing.assert_close(average.module.weight, expected)


class TestEarlierConfigs:
    """Losses were the head's before methods were."""

    def test_options(self):
        options = {'model.head.loss.gamma_neg': 4, 'model.head.recovery.loss.loss_weight': 0.3}
        method = load_config('sarlp_r101_voc_p0.1', options).model.method
        assert (method.loss.gamma_neg, method.loss.type) == (4, 'AsymmetricLoss')
        assert (method.recovery_loss.loss_weight, method.recovery_loss.reduction) == (0.3, 'mean')
        assert load_config('sarlp_r101_voc_p0.1', {'model.head.recovery': None}).model.method.recovery_loss is None

    @pytest.mark.parametrize('name', ['sarlp_r18_digits_p0.1', 'baseline_r18_digits_p0.1', 'sgre_r101_voc_p0.1'])
    def test_whole_configs(self, name):
        expected = load_config(name).model
        model = load_config(name).model
        method = model.pop('method')
        model.head.loss = method.loss
        if 'recovery_loss' in method:
            model.head.recovery.loss = method.recovery_loss
        if 'class_feature_loss' in method:
            model.head.class_feature_loss = method.class_feature_loss
        cfg = type(load_config(name))(dict(model=model))
        assert len(upgrade(cfg)) == len(method) - 1
        assert cfg.model.to_dict() == expected.to_dict()
        assert upgrade(cfg) == []
