"""A loss for complete labels takes -1 for a number; that is refused, and whatever is meant by -1 is not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sarlp.engine import load_config
from sarlp.errors import GraveWarning, UserError
from sarlp.losses.losses import MultiLabelLoss, computes_with_unknown, is_turned_round, learns_unknown
from sarlp.registry import METHODS, MODELS


class Of(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, logits, target):
        return self.value(logits, target)


def written_over(logits, target):
    target[target < 0] = 0
    return F.binary_cross_entropy_with_logits(logits, target)


def bce(logits, target, **options):
    return F.binary_cross_entropy_with_logits(logits, target, **options)


@pytest.mark.parametrize('kind', ['mmpretrain.AsymmetricLoss', 'mmpretrain.FocalLoss', 'mmpretrain.CrossEntropyLoss'])
def test_losses_of_mmpretrain(kind):
    options = dict(use_sigmoid=True) if 'Cross' in kind else {}
    with pytest.raises(
        UserError, match=rf'model\.method\.loss: {kind.partition(".")[2]} computes with the -1 of unknown labels'
    ):
        METHODS.build(dict(type='KnownLabels', loss=dict(type=kind, **options)))


def test_of_the_unknown_labels():
    losses = dict(loss=dict(type='BinaryCrossEntropy'), unknown_loss=dict(type='mmpretrain.FocalLoss'))
    with pytest.raises(UserError, match=r'model\.method\.unknown_loss: FocalLoss computes with the -1'):
        METHODS.build(dict(type='KnownAndUnknown', **losses))


@pytest.mark.parametrize(
    ('value', 'as_number'),
    [
        (bce, True),
        (lambda logits, target: bce(target, logits.clamp(0, 1)), True),  # arguments exchanged
        (lambda logits, target: bce(logits, target.clamp(min=0)), False),  # assumes negative
        (written_over, False),
        (lambda logits, target: (bce(logits, target, reduction='none') * (target >= 0)).sum(), False),
        (lambda logits, target: bce(logits[target >= 0], target[target >= 0]), False),
        (lambda logits, target: bce(logits, torch.where(target < 0, logits.sigmoid().detach(), target)), False),
        (lambda logits, target: bce(logits, target, weight=torch.ones(7)), False),  # of seven classes: can not be asked
    ],
)
def test_what_is_done_with_it(value, as_number):
    assert computes_with_unknown(Of(value)) == as_number


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits, target):
        self.calls += 1
        return logits.sum()


def test_the_loss_is_left_as_it_was():
    loss = Counted()
    assert not computes_with_unknown(loss) and loss.calls == 0


def test_ours():
    for name in ('asl', 'bce_sum', 'durand', 'focal', 'hill', 'an_ls'):
        loss = load_config(f'{name}_r18_digits_p0.1').model.method.loss
        assert not computes_with_unknown(MODELS.build(loss)), name


@pytest.mark.parametrize(
    ('value', 'taken'),
    [
        (written_over, 'negative'),
        (lambda logits, target: bce(logits, (target != 0).float()), 'positive'),
        (lambda logits, target: bce(logits, target.clamp(min=0), weight=(target >= 0).float()), ''),
        (lambda logits, target: bce(logits, target.clamp(min=0), weight=torch.ones(7)), ''),  # can not be asked
    ],
)
def test_what_unknown_labels_are_taken_for(value, taken):
    assert learns_unknown(Of(value)) == taken
    assert not is_turned_round(Of(value))


def test_a_loss_that_is_turned_round():
    assert is_turned_round(Of(lambda logits, target: -bce(logits, target)))
    assert is_turned_round(Of(lambda logits, target: bce(-logits, target)))
    assert not is_turned_round(Of(lambda logits, target: -bce(logits, target).detach()))


def test_what_is_told(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Over', lambda: Of(written_over))
    monkeypatch.setitem(MODELS.module_dict, 'Minus', lambda: Of(lambda logits, target: -written_over(logits, target)))
    with pytest.warns(UserWarning, match=r'model\.method\.loss: Of takes unknown labels for negative ones'):
        METHODS.build(dict(type='KnownLabels', loss=dict(type='Over')))
    with pytest.warns(UserWarning) as told:
        METHODS.build(dict(type='KnownLabels', loss=dict(type='Minus')))
    unknown, turned = told
    assert 'takes unknown labels for positive ones' in str(unknown.message)
    assert 'Of rises as positive labels get higher scores' in str(turned.message) and turned.category is GraveWarning


def test_ours_leave_them_out_and_the_right_way_round():
    for name, part in MODELS.module_dict.items():
        if isinstance(part, type) and issubclass(part, MultiLabelLoss):
            loss = MODELS.build(dict(type=name))
            assert learns_unknown(loss) == '' and not is_turned_round(loss), name
