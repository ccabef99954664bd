"""The one-cycle schedules against torch's, step by step."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from sarlp.engine.training.schedulers import OneCycleLR, OneCycleMomentum, one_cycle

PEAKS = (3e-3, 7e-4)


def make_optimizer(kind='AdamW'):
    groups = [dict(params=[nn.Parameter(torch.zeros(2))], lr=lr) for lr in PEAKS]
    if kind == 'SGD':
        return torch.optim.SGD(groups, lr=1.0, momentum=0.5)
    return torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.999))


def momentum_of(group):
    return group['betas'][0] if 'betas' in group else group['momentum']


def values_of(optimizer):
    # MMEngine's wrapper adds a group without parameters
    return [(group['lr'], momentum_of(group)) for group in optimizer.param_groups[: len(PEAKS)]]


def torch_values(total, warmup=0.2, kind='AdamW', div=25.0, final=1e4, low=0.85, high=0.95):
    optimizer = make_optimizer(kind)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=list(PEAKS),
        total_steps=total,
        pct_start=warmup,
        anneal_strategy='cos',
        div_factor=div,
        final_div_factor=final,
        base_momentum=low,
        max_momentum=high,
    )
    values = [values_of(optimizer)]
    for _ in range(total - 1):
        optimizer.step()
        scheduler.step()
        values.append(values_of(optimizer))
    return values


def make_schedulers(optimizer, total, warmup=0.2):
    return [
        OneCycleLR(optimizer, end=total, warmup=warmup, by_epoch=False),
        OneCycleMomentum(optimizer, end=total, warmup=warmup, by_epoch=False),
    ]


def own_values(optimizer, schedulers, steps):
    values = []
    for _ in range(steps):
        values.append(values_of(optimizer))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return values


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for step, (one, other) in enumerate(zip(actual, expected, strict=True)):
        for own, theirs in zip(one, other, strict=True):
            assert own == pytest.approx(theirs, rel=1e-9, abs=1e-14), step


@pytest.mark.parametrize('total', [1, 2, 3, 4, 7, 10, 53, 1009])
def test_equal_to_torch(total):
    optimizer = make_optimizer()
    assert_equal(own_values(optimizer, make_schedulers(optimizer, total), total), torch_values(total))


@pytest.mark.parametrize('warmup', [0.03, 0.3, 0.5, 0.97])
def test_warmup(warmup):
    optimizer = make_optimizer()
    actual = own_values(optimizer, make_schedulers(optimizer, 61, warmup), 61)
    assert_equal(actual, torch_values(61, warmup))


def test_momentum_of_sgd():
    optimizer = make_optimizer('SGD')
    assert_equal(own_values(optimizer, make_schedulers(optimizer, 41), 41), torch_values(41, kind='SGD'))


def test_other_factors():
    optimizer = make_optimizer()
    schedulers = [
        OneCycleLR(optimizer, end=41, warmup=0.3, by_epoch=False, div_factor=10.0, final_div_factor=50.0),
        OneCycleMomentum(optimizer, end=41, warmup=0.3, by_epoch=False, low=0.7, high=0.99),
    ]
    expected = torch_values(41, 0.3, div=10.0, final=50.0, low=0.7, high=0.99)
    assert_equal(own_values(optimizer, schedulers, 41), expected)


def test_run_of_five_steps():
    # the peak falls onto the first step, where torch divides by zero
    with pytest.raises(ZeroDivisionError):
        torch_values(5)
    optimizer = make_optimizer()
    actual = own_values(optimizer, make_schedulers(optimizer, 5), 5)
    assert actual[0] == [(peak, 0.85) for peak in PEAKS]
    assert actual[-1] == [(pytest.approx(peak / 25e4), 0.95) for peak in PEAKS]


def test_known_points():
    # by the definition: start = peak / 25, peak at the end of the warm-up, final = start / 1e4
    assert one_cycle(0, 101, 0.2, 4.0, 100.0, 0.0) == 4
    assert one_cycle(100, 101, 0.2, 4.0, 100.0, 0.0) == pytest.approx(0)
    assert one_cycle(400, 101, 0.2, 4.0, 100.0, 0.0) == pytest.approx(0)  # stays there
    assert max(range(100), key=lambda step: one_cycle(step, 100, 0.2, 4.0, 100.0, 0.0)) == 19
    assert one_cycle(19, 100, 0.2, 4.0, 100.0, 0.0) == pytest.approx(100)


@pytest.mark.parametrize('interrupted', [1, 5, 11, 40])
def test_state_round_trip(interrupted):
    expected = torch_values(53)
    optimizer = make_optimizer()
    schedulers = make_schedulers(optimizer, 53)
    head = own_values(optimizer, schedulers, interrupted)
    states = [scheduler.state_dict() for scheduler in schedulers]
    optimizer_state = optimizer.state_dict()

    resumed = make_optimizer()
    others = make_schedulers(resumed, 53)
    resumed.load_state_dict(optimizer_state)
    for scheduler, state in zip(others, states, strict=True):
        scheduler.load_state_dict(state)
    assert_equal(head + own_values(resumed, others, 53 - interrupted), expected)


def plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def test_state_is_plain(tmp_path):
    optimizer = make_optimizer()
    for scheduler in make_schedulers(optimizer, 53):
        optimizer.step()
        scheduler.step()
        state = scheduler.state_dict()
        assert plain(state), state
        torch.save(state, tmp_path / 'state.pth')
        assert torch.load(tmp_path / 'state.pth', weights_only=True) == state


def test_through_mmengine_wrapper():
    optimizer = OptimWrapper(make_optimizer())
    schedulers = make_schedulers(optimizer, 10)
    expected = torch_values(10)
    for step in range(9):
        assert_equal([values_of(optimizer)], [expected[step]])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert_equal([values_of(optimizer)], [expected[9]])


def test_from_epochs():
    optimizer = make_optimizer()
    scheduler = OneCycleLR.build_iter_from_epoch(optimizer, end=4, warmup=0.2, epoch_length=13)
    actual = own_values(optimizer, [scheduler], 52)
    expected = torch_values(52)
    assert [[lr for lr, _ in row] for row in actual] == [
        [pytest.approx(lr, rel=1e-9) for lr, _ in row] for row in expected
    ]


def test_messages():
    optimizer = make_optimizer()
    with pytest.raises(ValueError, match='OneCycleLR needs the length of the run: set `end` to the last epoch'):
        OneCycleLR(optimizer)
    with pytest.raises(ValueError, match=r'OneCycleMomentum: warmup must be in \[0, 1\], got 1.2'):
        OneCycleMomentum(optimizer, end=3, warmup=1.2)
    with pytest.raises(ValueError, match='only an epoch-based schedule'):
        OneCycleLR.build_iter_from_epoch(optimizer, end=4, by_epoch=False, epoch_length=3)
