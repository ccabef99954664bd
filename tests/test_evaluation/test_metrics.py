"""The metrics through MMEngine's evaluator."""

import math
from itertools import chain, zip_longest

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


def ranks_of(samples, world_size):
    """Samples of each rank as MMEngine's default sampler hands them out: every k-th, the end padded from the start."""
    padded = samples + samples[: -len(samples) % world_size]
    return [padded[rank::world_size] for rank in range(world_size)]


def gather(parts, size):
    """What MMEngine's ``collect_results`` does with the parts of the ranks."""
    return [entry for entry in chain.from_iterable(zip_longest(*parts)) if entry is not None][:size]


@pytest.mark.parametrize('kind', [MultiLabelMetric, LabelRecoveryMetric])
@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_give_the_numbers_of_one_process(kind, world_size):
    samples = make_samples(*make_data())
    expected = evaluate(kind(), samples)
    parts = []
    for part in ranks_of(samples, world_size):
        rank_metric = kind()
        for start in range(0, len(part), 2):
            rank_metric.process(None, [sample.to_dict() for sample in part[start : start + 2]])
        assert len(rank_metric.results) == len(part)
        parts.append(rank_metric.results)
    metric = kind()
    metric.dataset_meta = {'classes': CLASSES}
    assert metric.compute_metrics(gather(parts, N)) == expected
    assert metric.report['image_ids'] == [f'x/{n}.jpg' for n in range(N)]
    with pytest.raises(ValueError, match="1 of 14 images .* first 'x/0.jpg'(.|\n)*shuffle=False"):
        metric.compute_metrics(gather(parts, 14) if world_size == 2 else gather(parts, N) + parts[0][:1])


def test_results_do_not_hold_on_to_the_batch():
    batch = torch.rand(4, C)
    labels = torch.zeros(4, C)
    metric = MultiLabelMetric()
    metric.process(None, [dict(img_id='0', pred_score=batch[0], gt_score_full=labels[0])])
    batch.fill_(9)
    assert metric.results[0]['pred_score'].max() < 1
    assert metric.results[0]['pred_score'].base is None


def test_reduced_precision_is_read():
    metric = MultiLabelMetric()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        sample = dict(img_id=str(dtype), pred_score=torch.full((C,), 0.5, dtype=dtype), gt_score_full=torch.zeros(C))
        metric.process(None, [sample])
    assert {entry['pred_score'].dtype for entry in metric.results} == {np.dtype('float32')}


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
    metric.dataset_meta = {'classes': CLASSES + ('f',)}
    with pytest.raises(ValueError, match='names 6 classes, but the model gives 5 scores'):
        metric.compute_metrics(metric.results)
    with pytest.raises(ValueError, match='is the split empty'):
        metric.compute_metrics([])
    metric.process(None, [dict(img_id='b.jpg', pred_score=torch.rand(3), gt_score_full=torch.zeros(3))])
    with pytest.raises(ValueError, match=r'different numbers of classes: \[3, 5\]'):
        metric.compute_metrics(metric.results)
