"""The metrics through MMEngine's evaluator."""

import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from sarlp.evaluation import LabelRecoveryMetric, MultiLabelMetric, average_precision, f1_family, label_recovery
from sarlp.registry import METRICS

N, C = 13, 5
CLASSES = tuple('abcde')


def make_data(seed=0):
    rng = np.random.default_rng(seed)
    full = (rng.random((N, C)) < 0.4).astype(int)
    full[0], full[1] = 1, 0
    full[2, 3] = -1
    observed = np.where(rng.random((N, C)) < 0.5, full, -1)
    return rng.random((N, C)).astype(np.float32), observed, full, rng.random((N, C)) < 0.1


def make_samples(scores, observed, full, ignore):
    return [
        BaseDataElement(
            metainfo=dict(img_id=f'x/{n}.jpg', img_path=f'root/x/{n}.jpg'),
            pred_score=torch.from_numpy(scores[n]),
            gt_score=torch.from_numpy(observed[n]).float(),
            gt_score_full=torch.from_numpy(full[n]).float(),
            ignore=torch.from_numpy(ignore[n]),
        )
        for n in range(len(scores))
    ]


def evaluate(metrics, samples, size=None):
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = {'classes': CLASSES}
    for start in range(0, len(samples), 4):
        evaluator.process(samples[start : start + 4], None)
    return evaluator.evaluate(len(samples) if size is None else size)


def test_multi_label_metric():
    data = scores, _, full, ignore = make_data()
    metric = METRICS.build(dict(type='MultiLabelMetric'))
    result = evaluate(metric, make_samples(*data))
    family, top3 = f1_family(scores, full, ignore), f1_family(scores, full, ignore, top_k=3)
    expected = {
        'mAP': 100 * average_precision(scores, full, ignore).mean(),
        'mAP_plain': 100 * average_precision(scores, full, ignore, 'plain').mean(),
        **{name: 100 * value for name, value in family.items()},
        **{f'{name}_top3': 100 * value for name, value in top3.items()},
        'classes_left_out': 0,
    }
    assert list(result) == list(expected)
    assert result == pytest.approx(expected)
    assert all(type(value) is float for value in result.values())

    report = metric.report
    assert report['image_ids'] == [f'x/{n}.jpg' for n in range(N)]
    np.testing.assert_array_equal(report['scores'], scores)
    np.testing.assert_array_equal(report['full'], full)
    np.testing.assert_array_equal(report['ignore'], ignore)
    assert report['scores'].dtype == np.float32
    assert report['metrics'] == result
    assert tuple(report['AP']) == CLASSES
    np.testing.assert_allclose(list(report['AP'].values()), 100 * average_precision(scores, full, ignore))
    np.testing.assert_allclose(
        list(report['AP_plain'].values()), 100 * average_precision(scores, full, ignore, 'plain')
    )


def test_label_recovery_metric():
    data = scores, observed, full, ignore = make_data()
    metric = METRICS.build(dict(type='LabelRecoveryMetric', threshold=0.3))
    result = evaluate(metric, make_samples(*data))
    expected = label_recovery(scores, observed, np.where(ignore, -1, full), 0.3)
    keys = ['AP', 'AP_micro', 'precision', 'recall', 'F1', 'hidden', 'hidden_positive']
    assert list(result) == [f'recovery_{key}' for key in keys]
    for key in keys:
        scale = 1 if key.startswith('hidden') else 100
        assert result[f'recovery_{key}'] == pytest.approx(scale * expected[key])
    np.testing.assert_array_equal(metric.report['observed'], observed)
    np.testing.assert_array_equal(metric.report['full'], np.where(ignore, -1, full))
    assert metric.report['image_ids'][3] == 'x/3.jpg'
    assert metric.report['threshold'] == 0.3


def test_both_in_one_evaluator_with_options():
    data = scores, observed, full, ignore = make_data()
    metrics = [
        MultiLabelMetric(percent=False, top_k=2),
        LabelRecoveryMetric(percent=False),
        MultiLabelMetric(threshold=0.0, top_k=None, prefix='zero'),
    ]
    result = evaluate(metrics, make_samples(*data))
    assert result['OF1_top2'] == pytest.approx(f1_family(scores, full, ignore, top_k=2)['OF1'])
    assert result['zero/OR'] == pytest.approx(100)
    assert 'zero/OR_top2' not in result
    assert result['recovery_recall'] <= 1


def test_no_warning_about_the_missing_prefix(monkeypatch):
    printed = []
    monkeypatch.setattr('mmengine.evaluator.metric.print_log', lambda *args, **kwargs: printed.append(args))
    assert MultiLabelMetric().prefix is None
    assert not printed


def test_nothing_hidden_is_no_crash():
    scores, _, full, ignore = make_data()
    result = evaluate(LabelRecoveryMetric(), make_samples(scores, full, full, ignore))
    assert result['recovery_hidden'] == 0
    assert math.isnan(result['recovery_AP'])


def test_results_do_not_hold_on_to_the_batch():
    scores, labels = torch.full((4, C), 0.5), torch.zeros(4, C)
    metric = MultiLabelMetric()
    metric.process(None, [dict(img_id='0', pred_score=scores[0], gt_score_full=labels[0])])
    scores.fill_(9)
    labels.fill_(1)
    metric.evaluate(1)
    assert metric.report['scores'].tolist() == [[0.5] * C]
    assert metric.report['full'].tolist() == [[0] * C]


def test_reduced_precision_is_read():
    metric = MultiLabelMetric()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        score, label = torch.full((C,), 0.75, dtype=dtype), torch.ones(C, dtype=dtype)
        metric.process(None, [dict(img_id=str(dtype), pred_score=score, gt_score_full=label)])
    metric.evaluate(3)
    assert metric.report['scores'].dtype == np.float32
    assert metric.report['scores'].tolist() == [[0.75] * C] * 3
    assert metric.report['full'].tolist() == [[1] * C] * 3


def test_ignore_may_be_missing_in_some_samples():
    data = scores, _, full, ignore = make_data()
    samples = make_samples(*data)
    for n in (2, 3, 7, 11):
        del samples[n].ignore
        ignore[n] = False
    metric = MultiLabelMetric()
    result = evaluate(metric, samples)
    np.testing.assert_array_equal(metric.report['ignore'], ignore)
    assert result['mAP'] == pytest.approx(100 * average_precision(scores, full, ignore).mean())


@pytest.mark.parametrize('kind', [MultiLabelMetric, LabelRecoveryMetric])
def test_scores_in_files(kind, tmp_path):
    samples = make_samples(*make_data())
    in_memory, in_files = kind(), kind(scores_dir=str(tmp_path / 'new'))
    assert evaluate(in_files, samples) == evaluate(in_memory, samples)
    for name in kind.kept:
        np.testing.assert_array_equal(in_files.report[name], in_memory.report[name])
        assert isinstance(in_files.report[name], np.memmap)
        assert not isinstance(in_memory.report[name], np.memmap)
    assert not list((tmp_path / 'new').iterdir())  # files without a name


def test_evaluates_again():
    metric = MultiLabelMetric()
    first = evaluate(metric, make_samples(*make_data()))
    second = evaluate(metric, make_samples(*make_data(1)))
    assert second != first
    assert evaluate(metric, make_samples(*make_data())) == first
    metric.process(None, [make_samples(*make_data())[0].to_dict()])
    assert metric.report is None


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_score_that_is_not_finite_names_the_image(value):
    scores, *labels = make_data()
    scores[7, 2] = value
    with pytest.raises(ValueError, match=r"image 'x/7.jpg' for class 2 \(c\)"):
        evaluate(MultiLabelMetric(), make_samples(scores, *labels))


def test_bad_samples_are_named():
    good = dict(img_id='a.jpg', pred_score=torch.rand(C), gt_score=torch.zeros(C), gt_score_full=torch.zeros(C))
    with pytest.raises(ValueError, match="needs gt_score_full in every data sample, but image 'a.jpg'"):
        MultiLabelMetric().process(None, [{key: good[key] for key in good if key != 'gt_score_full'}])
    with pytest.raises(ValueError, match="image 'a.jpg' has 5 scores, but gt_score_full of the shape \\(4,\\)"):
        MultiLabelMetric().process(None, [good | dict(gt_score_full=torch.zeros(4))])
    with pytest.raises(ValueError, match="gt_score of image 'a.jpg' must hold only"):
        LabelRecoveryMetric().process(None, [good | dict(gt_score=torch.full((C,), 0.5))])
    with pytest.raises(ValueError, match='shape'):
        MultiLabelMetric().process(None, [good | dict(pred_score=torch.rand(1, C))])

    metric = MultiLabelMetric()
    metric.process(None, [good])
    with pytest.raises(ValueError, match=r'different numbers of classes: \[3, 5\]'):
        metric.process(None, [dict(img_id='b.jpg', pred_score=torch.rand(3), gt_score_full=torch.zeros(3))])
    metric.dataset_meta = {'classes': CLASSES + ('f',)}
    with pytest.raises(ValueError, match='names 6 classes, but the model gives 5 scores'):
        metric.evaluate(1)
    with pytest.raises(ValueError, match='is the split empty'):
        metric.evaluate(0)
    for name in ('a.jpg', 'c.jpg', 'a.jpg'):
        metric.process(None, [good | dict(img_id=name)])
    with pytest.raises(ValueError, match="1 of 3 images .* first 'a.jpg'(.|\n)*shuffle=False"):
        metric.evaluate(3)
