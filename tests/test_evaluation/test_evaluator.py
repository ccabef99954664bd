"""Metrics of one's own: numbers by name, whatever type they have, and what is none is refused by name."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.structures import DataSample

from sarlp.errors import UserError
from sarlp.evaluation.evaluator import CheckedEvaluator
from sarlp.evaluation.report import format_table


class Mine(BaseMetric):
    def __init__(self, given, **options):
        super().__init__(**options)
        self.given = given

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return self.given


def evaluate(*given, prefix='mine'):
    evaluator = CheckedEvaluator([Mine(one, prefix=prefix) for one in given])
    evaluator.process([], None)
    return evaluator.evaluate(1)


def test_numbers_of_any_kind():
    given = dict(a=torch.tensor(0.25), b=np.float32(0.5), c=np.int64(3), d=np.arange(2), e=torch.ones(1), f={'g': 1})
    found = evaluate(given)
    assert json.loads(json.dumps(found)) == {
        'mine/a': 0.25,
        'mine/b': 0.5,
        'mine/c': 3,
        'mine/d': [0, 1],
        'mine/e': 1,
        'mine/f': {'g': 1},
    }


@pytest.mark.parametrize('given', [None, 0.5])
def test_no_dict(given):
    with pytest.raises(UserError, match=r'Mine\.compute_metrics must return a dict of numbers by name'):
        evaluate(given)


def test_one_name_twice():
    with pytest.raises(UserError, match=r"Mine gives mine/mAP, as another metric of .*give it a prefix: dict\(type='M"):
        evaluate({'mAP': 1.0}, {'mAP': 2.0})


def test_the_table_shows_them():
    assert format_table({'mAP': 50.0, 'CF1_top3': 1.0, 'recovery_AP': 2.0}).count('hamming') == 0
    shown = format_table({'mAP': 50.0, 'hamming': 42.1875, 'by_class': [1.0, 2.0]})
    assert [line.split() for line in shown.splitlines() if 'hamming' in line] == [['hamming', '42.19']]
    assert 'by_class' not in shown


class Rounding(Mine):
    """Rounds what it is given in place."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            sample['pred_score'][:] = sample['pred_score'].round()
            sample['gt_score'].clamp_(min=0)


class Keeping(Mine):
    def process(self, data_batch, data_samples):
        (sample,) = data_samples
        self.given = {name: sample[name].tolist() for name in ('pred_score', 'gt_score')}
        super().process(data_batch, data_samples)


def test_what_a_metric_rounds_in_place_is_whole_for_the_next():
    scores, labels = torch.tensor([0.3, 0.6]), torch.tensor([-1.0, 1.0])
    sample = DataSample().set_pred_score(scores.clone()).set_gt_score(labels.clone())
    evaluator = CheckedEvaluator([Rounding({}, prefix='a'), Keeping({}, prefix='b')])
    evaluator.process([sample], None)
    assert evaluator.evaluate(1) == {'b/pred_score': scores.tolist(), 'b/gt_score': labels.tolist()}
    assert torch.equal(sample.pred_score, scores)
