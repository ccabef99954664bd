"""The preprocessor: mmpretrain's numbers, without its waiting."""

import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from sarlp.errors import UserError
from sarlp.models import DataPreprocessor

OPTIONS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def images(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


@pytest.mark.parametrize('options', [OPTIONS, {}, dict(to_rgb=True)])
@pytest.mark.parametrize(
    'inputs', [images((7, 11), (7, 11)), torch.stack(images((7, 11), (7, 11))), images((5, 13), (7, 11))]
)
def test_batch_of_mmpretrain(options, inputs):
    expected = ClsDataPreprocessor(**options)({'inputs': inputs})['inputs']
    actual = DataPreprocessor(**options)({'inputs': inputs})
    assert actual['inputs'].dtype == torch.float32
    assert torch.equal(actual['inputs'], expected)
    assert actual['data_samples'] is None


def test_batch_by_the_formula():
    inputs = torch.stack(images((7, 11), (7, 11)))
    actual = DataPreprocessor(**OPTIONS)({'inputs': inputs})['inputs']
    for channel in range(3):
        expected = (inputs[:, 2 - channel].double() - OPTIONS['mean'][channel]) / OPTIONS['std'][channel]
        assert torch.allclose(actual[:, channel].double(), expected, atol=1e-6)


def test_samples_stay_as_they_are():
    samples = [DataSample().set_gt_score(torch.tensor([1.0, 0.0, -1.0])) for _ in range(2)]
    scores = [sample.gt_score for sample in samples]
    batch = DataPreprocessor(**OPTIONS)({'inputs': images((7, 11), (7, 11)), 'data_samples': samples}, True)
    assert batch['data_samples'] is samples
    assert all(sample.gt_score is score for sample, score in zip(samples, scores, strict=True))


@pytest.mark.parametrize('non_blocking', [True, False])
@pytest.mark.parametrize('stacked', [True, False])
def test_images_travel_as_uint8_and_nobody_waits(monkeypatch, non_blocking, stacked):
    moves = []
    to = torch.Tensor.to

    def record(self, *args, **kwargs):
        moves.append((self.dtype, kwargs.get('non_blocking')))
        return to(self, *args, **kwargs)

    inputs = images((7, 11), (7, 11))
    preprocessor = DataPreprocessor(**OPTIONS, non_blocking=non_blocking)
    monkeypatch.setattr(torch.Tensor, 'to', record)
    preprocessor({'inputs': torch.stack(inputs) if stacked else inputs})
    assert moves == [(torch.uint8, non_blocking)] * (1 if stacked else 3)  # each, and all of them, which are there


def test_what_was_not_packed():
    with pytest.raises(UserError, match='a batch reached the model that holds img, gt_score and no inputs; let the'):
        DataPreprocessor()({'img': [], 'gt_score': []})
