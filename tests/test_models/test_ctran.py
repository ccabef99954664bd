"""C-Tran against loops over its formula, and what its training shows and hides."""

import math

import pytest
import torch
import torch.nn.functional as F

from sarlp.errors import UserValueError
from sarlp.methods.base import Batch
from sarlp.methods.ctran import CTran, show_some
from sarlp.models import CTranHead

from .methods import CLASSES, assert_onnx_equals, build_model, losses

BATCH, GRID, DIM, HEADS = 2, (3, 2), 8, 2
LABELS = 5
STATES = torch.tensor([[1.0, 0.0, -1.0, -1.0, 1.0], [-1.0, 1.0, 0.0, -1.0, -1.0]])


def tokens():
    return torch.randn(BATCH, 6, DIM, generator=torch.Generator().manual_seed(0))


def make_head(**options):
    torch.manual_seed(0)
    head = CTranHead(LABELS, DIM, num_layers=2, num_heads=HEADS, **options).eval()
    torch.nn.init.normal_(head.states)
    torch.nn.init.normal_(head.labels)
    return head


def layer_by_hand(layer, rows):
    weight, bias = layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.in_proj_bias.chunk(3)
    q, k, v = (F.linear(rows, w, b) for w, b in zip(weight, bias, strict=True))
    width, seen, mean = DIM // HEADS, [], torch.zeros(len(rows), len(rows))
    for head in range(HEADS):
        own = slice(head * width, (head + 1) * width)
        similar = torch.tensor([[float(a[own] @ b[own]) / math.sqrt(width) for b in k] for a in q]).exp()
        share = similar / similar.sum(1, keepdim=True)
        seen.append(share @ v[:, own])
        mean += share / HEADS
    rows = layer.norm1(rows + layer.self_attn.out_proj(torch.cat(seen, 1)))
    return layer.norm2(rows + layer.linear2(layer.linear1(rows).relu())), mean


@torch.no_grad()
@pytest.mark.parametrize('states', [STATES, None])
def test_equals_its_formula(states):
    head = make_head()
    assert head.layers[0].linear1.out_features == DIM
    outputs = head(tokens(), GRID, states)
    for b in range(BATCH):
        labels = []
        for c in range(LABELS):
            state = -1 if states is None else int(states[b, c])
            labels.append(head.labels[c] + (0 if state == -1 else head.states[state]))
        rows = head.norm(torch.cat([tokens()[b], torch.stack(labels)]))
        for layer in head.layers:
            rows, attention = layer_by_hand(layer, rows)
        for c in range(LABELS):
            expected = float(rows[6 + c] @ head.score.weight[c] + head.score.bias[c])
            assert outputs['logits'][b, c].item() == pytest.approx(expected, abs=1e-5)
            seen = attention[6 + c, :6] / attention[6 + c, :6].sum()
            torch.testing.assert_close(outputs['token_scores'][b, :, c].softmax(0), seen, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_known_label_changes_the_others():
    head = make_head()
    states = torch.full((BATCH, LABELS), -1.0)
    nothing = head(tokens(), GRID)['logits']
    assert torch.equal(head(tokens(), GRID, states)['logits'], nothing)
    found = []
    for state in (0.0, 1.0):
        states[:, 2] = state
        found.append(head(tokens(), GRID, states)['logits'])
        assert (found[-1] - nothing).abs().min() > 1e-5
    assert (found[1] - found[0]).abs().min() > 1e-5


class TestShowSome:
    @pytest.fixture
    def observed(self):
        torch.manual_seed(0)
        return torch.randint(-1, 2, (4001, 7)).float()

    def test_shows_known_labels_as_they_are_and_never_all(self, observed):
        shown = show_some(observed, 0.75)
        known = observed != -1
        assert torch.equal(shown[shown != -1], observed[shown != -1])
        assert not (shown != -1)[~known].any()
        hidden = known.sum(1) - (shown != -1).sum(1)
        assert (hidden >= (0.25 * known.sum(1)).ceil())[known.any(1)].all()

    def test_every_number_is_as_likely(self, observed):
        shown = (show_some(observed, 0.75) != -1).sum(1)
        known = (observed != -1).sum(1)
        for number in (1, 4, 5):
            counts = torch.bincount(shown[known == number]).float()
            assert len(counts) == math.floor(0.75 * number) + 1
            assert (counts / counts.sum() - 1 / len(counts)).abs().max() < 0.06

    def test_every_label_is_as_likely(self, observed):
        shown, known = show_some(observed, 0.75) != -1, observed != -1
        share = shown.sum(0) / known.sum(0)
        assert (share - share.mean()).abs().max() < 0.03

    def test_none(self, observed):
        assert (show_some(observed, 0.0) == -1).all()
        assert (show_some(torch.full((3, 7), -1.0), 0.75) == -1).all()


def test_the_loss_is_on_known_labels_that_were_not_shown():
    method, seen = CTran(dict(type='BinaryCrossEntropy', reduction='sum')), {}

    def network(images, states):
        seen['states'] = states
        return {'logits': torch.full((2, 5), 0.3)}

    torch.manual_seed(3)
    observed = torch.tensor([[1.0, 0.0, 1.0, 0.0, -1.0], [-1.0, -1.0, -1.0, -1.0, -1.0]])
    for _ in range(5):
        value = method.loss(network, Batch({'image': None}, observed, torch.arange(2), ('a', 'b')))['loss_known']
        expected = 0.0
        for c in range(4):
            if seen['states'][0, c] == -1:
                p = 1 / (1 + math.exp(-0.3 if observed[0, c] else 0.3))
                expected -= math.log(p)
        assert value.item() == pytest.approx(expected, rel=1e-5)
        assert (seen['states'][1] == -1).all()


def test_trains():
    model = build_model('ctran')
    assert model.method.most == 0.75 and len(model.head.layers) == 3
    labels = torch.ones(3, CLASSES)
    labels[:, ::2] = 0
    total = sum(losses(model, labels=labels).values())
    assert total.isfinite() and total > 0
    total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    model.zero_grad()
    nothing = sum(losses(model, labels=torch.full((3, CLASSES), -1.0)).values())
    assert nothing == 0


def test_onnx():
    """Nothing is known there."""
    assert_onnx_equals(build_model('ctran'))


def test_refused():
    with pytest.raises(UserValueError, match=r'most must be in \[0, 1\), got 1'):
        CTran(dict(type='BinaryCrossEntropy'), most=1)
    with pytest.raises(UserValueError, match=r'states must be \(B, C\) = \(2, 5\) of 1 / 0 / -1, got \(2, 4\)'):
        make_head()(tokens(), GRID, STATES[:, :4])
    with pytest.raises(UserValueError, match='num_layers must be at least 1'):
        CTranHead(LABELS, DIM, num_layers=0)
