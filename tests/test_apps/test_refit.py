"""Category-wise fine-tuning against a direct minimisation of its objective, and its command."""

import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.apps.refit import Evidence, fit_row, objective, refit_rows
from sarlp.commands import main
from sarlp.datasets.annotation import dump_annotation
from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.errors import UserError
from sarlp.inference import Predictor, init_model
from sarlp.models import BaselineHead, MLDecoderHead, SaliencyHead
from sarlp.registry import MODELS

from ..place import CLASSES as NAMES

IMAGES, GRID, DIM, CLASSES = 61, (2, 3), 7, 3


class Model(nn.Module):
    """As much of a classifier as is asked of it; images are tokens."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def data_preprocessor(self, batch):
        return batch

    def network(self, tokens):
        return self.head(tokens, GRID)


@pytest.fixture(scope='module')
def tokens():
    return 2 * torch.randn(IMAGES, 6, DIM, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def observed(tokens):
    """Half of the labels are known, and have something to do with the tokens; of the last class one positive only."""
    labels = (tokens[:, :, :CLASSES].amax(1) + 0.7 * tokens[:, 0, 3:4] > 2.5).numpy().astype(np.int8)
    labels[np.random.default_rng(0).random(labels.shape) < 0.5] = -1
    labels[np.flatnonzero(labels[:, 2] == 1)[1:], 2] = -1
    return labels


def batches(tokens, observed):
    return lambda: ((dict(inputs=tokens[i : i + 13]), observed[i : i + 13]) for i in range(0, IMAGES, 13))


def head_of(kind):
    torch.manual_seed(1)
    if kind is MLDecoderHead:
        return kind(CLASSES, DIM, dim=8, num_heads=2, feedforward_dim=5).eval()
    return kind(CLASSES, DIM).eval()


class Direct:
    """The objective of one class through the whole head in float64, and its least value by torch's LBFGS.

    Args:
        head: trained; tokens (N, P, D) of all images; labels (N,) of 1 / 0 / -1.
    """

    def __init__(self, head, tokens, grid, labels, c, l2):
        self.head, self.tokens, self.grid, self.c = head.double(), tokens.double(), grid, c
        self.known, self.labels = torch.from_numpy(labels != -1), torch.from_numpy(labels).double()
        self.trained = self.row_of(head)
        slopes = []
        for image in self.tokens[self.known]:
            row = self.trained.clone().requires_grad_()
            self.logits(row, image[None]).sum().backward()
            slopes.append(row.grad[:-1].square().sum())
        self.penalty = l2 * sum(slopes) / len(slopes)

    def row_of(self, head):
        layer = head.get_submodule(head.last_layer)
        return torch.cat([layer.weight[self.c], layer.bias[self.c : self.c + 1]]).detach().double()

    def logits(self, row, tokens):
        layer = self.head.get_submodule(self.head.last_layer)
        own = torch.arange(len(layer.bias)) == self.c
        changed = {
            f'{self.head.last_layer}.weight': torch.where(own[:, None], row[:-1], layer.weight.detach()),
            f'{self.head.last_layer}.bias': torch.where(own, row[-1], layer.bias.detach()),
        }
        return torch.func.functional_call(self.head, changed, (tokens, self.grid))['logits'][:, self.c]

    def entropy(self, row):
        logits = self.logits(row, self.tokens[self.known])
        return nn.functional.binary_cross_entropy_with_logits(logits, self.labels[self.known])

    def objective(self, row):
        return self.entropy(row) + self.penalty / 2 * (row - self.trained)[:-1].square().sum()

    def least(self):
        row = self.trained.clone().requires_grad_()
        search = torch.optim.LBFGS([row], max_iter=500, tolerance_grad=1e-9, line_search_fn='strong_wolfe')

        def closure():
            search.zero_grad()
            value = self.objective(row)
            value.backward()
            return value

        search.step(closure)
        return row.detach()


@pytest.mark.parametrize('kind', [BaselineHead, SaliencyHead, MLDecoderHead])
@pytest.mark.parametrize('l2', [0.03, 1.0])
def test_equals_a_direct_minimisation(kind, l2, tokens, observed):
    model = Model(head_of(kind)).requires_grad_(False)
    rows = refit_rows(model, batches(tokens, observed), observed, l2=l2, passes=30)
    logits = model.network(tokens)['logits']
    for c in (0, 1):
        direct = Direct(head_of(kind), tokens, GRID, observed[:, c], c, l2)
        best, reached = direct.least(), direct.row_of(model.head)
        assert rows[c].before == pytest.approx(direct.entropy(direct.trained).item(), abs=1e-5)
        assert rows[c].after == pytest.approx(direct.entropy(reached).item(), abs=1e-5)
        assert direct.objective(reached).item() == pytest.approx(direct.objective(best).item(), abs=1e-4)
        assert direct.objective(best) < direct.objective(direct.trained) - 1e-3
        expected = direct.logits(best, direct.tokens).detach()
        atol = 0.1 if kind is SaliencyHead else 0.03  # where other cells become the largest, the objective has a kink
        torch.testing.assert_close(logits[:, c].double(), expected, rtol=0, atol=atol)
        moved, trained = (reached - direct.trained)[:-1], direct.trained[:-1]
        assert rows[c].moved == pytest.approx((moved.norm() / trained.norm()).item(), rel=1e-4)
        assert rows[c].bias == pytest.approx((reached - direct.trained)[-1].item(), rel=1e-4, abs=1e-6)
        assert rows[c].positive == (observed[:, c] == 1).sum() and rows[c].negative == (observed[:, c] == 0).sum()


def test_a_class_of_few_known_labels_is_left_alone(tokens, observed):
    model, before = Model(head_of(BaselineHead)).requires_grad_(False), head_of(BaselineHead)
    rows = refit_rows(model, batches(tokens, observed), observed)
    assert (rows[2].positive, rows[2].after, rows[2].moved) == (1, None, 0)
    assert torch.equal(model.head.score.weight[2], before.score.weight[2])
    assert torch.equal(model.head.score.bias[2], before.score.bias[2])
    assert not torch.equal(model.head.score.weight[0], before.score.weight[0])
    rows = refit_rows(model, batches(tokens, observed), observed, min_labels=1)
    assert rows[2].after is not None


def test_a_strong_penalty_keeps_the_row(tokens, observed):
    model, before = Model(head_of(BaselineHead)).requires_grad_(False), head_of(BaselineHead)
    rows = refit_rows(model, batches(tokens, observed), observed, l2=1e6)
    assert torch.allclose(model.head.score.weight, before.score.weight, atol=1e-5)
    assert all(row.moved < 1e-4 for row in rows) and abs(rows[0].bias) > 0.01


def test_separable_labels_have_a_finite_row():
    features = np.array([[1.0, 0.5, 1], [2, -0.5, 1], [-1, 0.1, 1], [-2, 0, 1]], np.float32)
    evidence = Evidence(features, np.zeros(4, np.float32), np.array([1.0, 1, 0, 0]))
    moved, value = fit_row(evidence, np.zeros(3), 0.01)
    assert np.isfinite(moved).all() and moved[0] > 0
    assert value == pytest.approx(objective(features @ moved, evidence.target, moved, 0.01))
    with np.nditer(moved, op_flags=['readwrite']) as each:
        for number in each:
            for change in (-1e-3, 1e-3):
                number += change
                assert objective(features @ moved, evidence.target, moved, 0.01) > value
                number -= change


class WithoutLayer(BaselineHead):
    last_layer = None


class WithAnotherPool(BaselineHead):
    def pool(self, scores):
        return scores.mean(1)

    def forward(self, tokens, grid):
        return {**super().forward(tokens, grid), 'logits': self.score(tokens).max(1).values}


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (WithoutLayer, {}, 'WithoutLayer has no last layer with a row for each class'),
        (WithAnotherPool, {}, r'the logits of WithAnotherPool are not what its pool\(\) makes of score'),
        (BaselineHead, dict(l2=0), 'l2 must be positive, min_labels at least 1 and passes at least 2; got 0, 5 and 6'),
        (BaselineHead, dict(passes=1), 'and passes at least 2'),
    ],
)
def test_refused(kind, options, message, tokens, observed):
    with pytest.raises(UserError, match=message):
        refit_rows(Model(head_of(kind)).requires_grad_(False), batches(tokens, observed), observed, **options)


@pytest.fixture(scope='module')
def shop(tmp_path_factory):
    """17 images, of which the first class is bright; nobody has looked for the last one."""
    from ..place import Place

    place = Place(tmp_path_factory.mktemp('refit'))
    entries = []
    for number in range(17):
        random = np.random.default_rng(number)
        image = random.integers(0, 100 + 150 * (number % 2), (64, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(place.root / f'{number}.png'), image)
        positive, negative = ([0], [1]) if number % 2 else ([1], [0])
        ignore = [c for c in (0, 1) if random.random() < 0.2]
        entries.append(
            {
                'img_path': f'{number}.png',
                'positive': [c for c in positive if c not in ignore],
                'negative': [c for c in negative if c not in ignore],
            }
        )
    dump_annotation(place.ann_file, NAMES, entries)
    place.entries = entries
    cfg = load_config(place.config())
    init_default_scope('sarlp')
    set_num_classes(cfg, len(NAMES), 'here')
    torch.manual_seed(0)
    meta = {'dataset_meta': {'classes': NAMES}, 'epoch': 3}
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict(), 'meta': meta}, place.root / 'model.pth')
    return place


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['sarlp'])
    main([*map(str, arguments)])


OPEN = ('--cfg-options', 'train_dataloader.dataset.label_mask=None')


def test_command(shop, monkeypatch, capsys):
    config, checkpoint = shop.root / 'config.py', shop.root / 'model.pth'
    bytes_before = checkpoint.read_bytes()
    run(monkeypatch, 'refit', config, checkpoint, '--l2', 0.01, *OPEN)
    printed = capsys.readouterr().out
    written = shop.root / 'model_refit.pth'
    assert checkpoint.read_bytes() == bytes_before
    assert '2 of 3 classes refitted; left alone, with too few known labels: sofa' in printed
    assert f'written to {written}' in printed
    before, after = (torch.load(path, weights_only=True) for path in (checkpoint, written))
    changed = {k for k, v in after['state_dict'].items() if not torch.equal(v, before['state_dict'][k])}
    assert changed == {'head.sgfe.mlp.3.weight', 'head.sgfe.mlp.3.bias'}
    assert after['meta'] == {'dataset_meta': {'classes': NAMES}, 'epoch': 3, 'refitted_from': 'model.pth'}
    assert torch.equal(
        after['state_dict']['head.sgfe.mlp.3.weight'][2], before['state_dict']['head.sgfe.mlp.3.weight'][2]
    )

    model = init_model(config, checkpoint, 'cpu')
    predictor = Predictor(model)
    names = [shop.root / entry['img_path'] for entry in shop.entries]
    with torch.no_grad():
        images = torch.cat([predictor.load(name) for name in names])
        tokens, grid = model.network.extract_tokens(images)
    found = Predictor(init_model(config, written, 'cpu')).predict(names)
    for c in (0, 1):
        labels = np.array([1 if c in e['positive'] else 0 if c in e['negative'] else -1 for e in shop.entries])
        direct = Direct(init_model(config, checkpoint, 'cpu').head, tokens, grid, labels, c, 0.01)
        expected = direct.logits(direct.least(), direct.tokens).detach().sigmoid().numpy()
        assert np.abs(expected - direct.logits(direct.trained, direct.tokens).detach().sigmoid().numpy()).max() > 0.05
        np.testing.assert_allclose([result['scores'][c] for result in found], expected, rtol=0, atol=0.01)

    run(monkeypatch, 'refit', config, checkpoint, *OPEN)  # its own earlier output is replaced
    written.write_bytes(b'a note of mine')
    with pytest.raises(SystemExit):
        run(monkeypatch, 'refit', config, checkpoint, *OPEN)
    assert 'model_refit.pth: there is a file of this name that is no earlier output' in capsys.readouterr().err
    assert written.read_bytes() == b'a note of mine'


def test_command_writes_nothing_where_nothing_can_be_fitted(shop, monkeypatch, capsys):
    out = shop.root / 'none.pth'
    with pytest.raises(SystemExit):
        run(monkeypatch, 'refit', shop.root / 'config.py', shop.root / 'model.pth', '--out', out, '--min-labels', 50)
    assert 'none of the 3 classes has enough known labels' in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit):
        run(monkeypatch, 'refit', shop.root / 'config.py', shop.root / 'model.pth', '--out', shop.root / 'model.pth')
    assert 'this file is read here' in capsys.readouterr().err
