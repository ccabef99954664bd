"""Query2Label and ML-Decoder against loops over heads, queries and tokens."""

import math

import pytest
import torch
import torch.nn.functional as F

from sarlp.errors import UserValueError
from sarlp.models import MLDecoderHead, Q2LHead
from sarlp.models.token_encoder import sine_position_code

from .methods import assert_every_parameter_learns, assert_onnx_equals, build_model

BATCH, GRID, IN, DIM, HEADS, FEEDFORWARD, CLASSES = 2, (3, 5), 13, 8, 2, 17, 7
SMALL = dict(dim=DIM, num_heads=HEADS, feedforward_dim=FEEDFORWARD)
NARROW = {'model.head.dim': 16, 'model.head.num_heads': 4}


def tokens():
    return torch.randn(BATCH, GRID[0] * GRID[1], IN, generator=torch.Generator().manual_seed(0))


def attend(module, query, key, value):
    """Multi-head attention of one query vector to rows; the result, and the mean weight of each row."""
    weight, bias = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q, k, v = (F.linear(rows, w, b) for rows, w, b in zip((query, key, value), weight, bias, strict=True))
    width, parts, mean = DIM // HEADS, [], torch.zeros(len(key))
    for head in range(HEADS):
        own = slice(head * width, (head + 1) * width)
        similar = torch.stack([q[own] @ row[own] / math.sqrt(width) for row in k])
        share = similar.exp() / similar.exp().sum()
        parts.append(sum(share[p] * v[p, own] for p in range(len(v))))
        mean += share / HEADS
    return module.out_proj(torch.cat(parts)), mean


def decode(layer, queries, key, value, code, self_attention):
    """A decoder layer after its paper, one query after another."""
    own = queries
    if self_attention:
        compared = queries + code
        own = torch.stack([attend(layer.self_attn, row, compared, queries)[0] for row in compared])
    queries = layer.norm1(queries + own)
    found = [attend(layer.multihead_attn, row, key, value) for row in queries + code]
    queries = layer.norm2(queries + torch.stack([seen for seen, _ in found]))
    inner = layer.linear2(layer.linear1(queries).relu())
    return layer.norm3(queries + inner), torch.stack([weights for _, weights in found])


def assert_head_equals(head, outputs, b, features, weights):
    for c in range(CLASSES):
        expected = sum(features[c, d] * head.score.weight[c, d] for d in range(DIM)) + head.score.bias[c]
        assert outputs['logits'][b, c].item() == pytest.approx(expected.item(), abs=2e-5)
    torch.testing.assert_close(outputs['token_scores'][b].softmax(0), weights.T, rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('self_attention', [True, False])
def test_q2l_equals_its_formula(self_attention):
    torch.manual_seed(0)
    head = Q2LHead(CLASSES, IN, encoder_layers=0, self_attention=self_attention, **SMALL).eval()
    assert len(head.decoder) == 2
    for layer in head.decoder:
        torch.nn.init.normal_(layer.norm1.bias)
        torch.nn.init.normal_(layer.multihead_attn.in_proj_bias)
    outputs = head(tokens(), GRID)
    for b in range(BATCH):
        memory = head.project(tokens()[b])
        key = memory + sine_position_code(*GRID, DIM)
        features = torch.zeros(CLASSES, DIM)
        for layer in head.decoder:
            features, weights = decode(layer, features, key, memory, head.queries, self_attention)
        assert_head_equals(head, outputs, b, head.norm(features), weights)


@torch.no_grad()
@pytest.mark.parametrize(('queries', 'of_class'), [(100, range(7)), (4, [0, 0, 1, 1, 2, 2, 3]), (1, [0] * 7)])
def test_ml_decoder_equals_its_formula(queries, of_class):
    torch.manual_seed(0)
    head = MLDecoderHead(CLASSES, IN, num_queries=queries, **SMALL).eval()
    outputs = head(tokens(), GRID)
    (layer,) = head.decoder
    for b in range(BATCH):
        memory = head.project(tokens()[b]).relu()
        features, weights = decode(layer, head.queries, memory, memory, 0.0, False)
        assert len(features) == min(queries, CLASSES)
        chosen = list(of_class)
        assert_head_equals(head, outputs, b, features[chosen], weights[chosen])


def test_queries_of_ml_decoder_are_fixed_and_saved():
    head = MLDecoderHead(CLASSES, IN, **SMALL)
    assert 'queries' not in dict(head.named_parameters())
    assert 'queries' in head.state_dict() and 'query_of' not in head.state_dict()


def test_numbers_of_the_papers():
    q2l, decoder = build_model('q2l').head, build_model('ml_decoder').head
    assert q2l.queries.shape == (7, 64) and q2l.decoder[0].linear1.out_features == 256
    assert len(q2l.encoder.layers) == 1 and len(q2l.decoder) == 2 and q2l.decoder[0].self_attention
    (layer,) = decoder.decoder
    assert layer.linear1.in_features == 768 and layer.linear1.out_features == 2048
    assert layer.multihead_attn.num_heads == 8 and layer.dropout.p == 0.1 and not hasattr(layer, 'self_attn')
    assert MLDecoderHead(101, IN, **SMALL).queries.shape == (100, DIM)


def test_refused():
    with pytest.raises(UserValueError, match='num_queries and num_layers must be at least 1, got 0 and 1'):
        MLDecoderHead(CLASSES, IN, num_queries=0)
    with pytest.raises(UserValueError, match='decoder_layers must be at least 1, got 0'):
        Q2LHead(CLASSES, IN, decoder_layers=0, **SMALL)


@pytest.mark.parametrize('method', ['q2l', 'ml_decoder'])
def test_trains(method):
    assert_every_parameter_learns(build_model(method, NARROW))


@pytest.mark.parametrize('method', ['q2l', 'ml_decoder'])
def test_onnx(method):
    model = build_model(method, NARROW)
    torch.nn.init.normal_(model.head.score.weight)
    assert_onnx_equals(model)
