"""Known labels in folds: what training leaves out and a validation sees."""

import numpy as np
import pytest

from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.multilabel import MultiLabelDataset
from sarlp.errors import UserError
from sarlp.evaluation.thresholds import calibrate

CLASSES = ('cat', 'dog', 'sofa', 'tree', 'van', 'cup', 'bus')
COUNT = 211


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    labels = rng.random((COUNT, 7)) < 0.3
    entries = [
        {'img_path': f'{index}.jpg', 'positive': np.flatnonzero(row).tolist(), 'negative': 'rest'}
        for index, row in enumerate(labels)
    ]
    for entry in entries:
        (root / entry['img_path']).touch()
    dump_annotation(root / 'ann.json', CLASSES, entries)
    return root


def labels_of(root, known_ratio=0.5, **options):
    """(observed, full), (N, C) each."""
    mask = dict(type='RandomKnownLabels', known_ratio=known_ratio)
    dataset = MultiLabelDataset('ann.json', str(root), label_mask=mask, **options)
    _, observed, full, _ = zip(*(dataset.get_labels(index) for index in range(len(dataset))), strict=True)
    return np.stack(observed), np.stack(full)


def test_the_parts_are_all_known_labels_and_share_none(root):
    observed, full = labels_of(root)
    total = np.zeros(observed.shape, int)
    for index in range(3):
        fold = dict(index=index, number=3, seed=4)
        train, train_full = labels_of(root, label_fold=dict(fold, part='train'))
        held, held_full = labels_of(root, label_fold=dict(fold, part='heldout'))
        assert not ((train >= 0) & (held >= 0)).any()
        np.testing.assert_array_equal(np.maximum(train, held), observed)
        np.testing.assert_array_equal(train_full, full)
        np.testing.assert_array_equal(held_full, held)  # metrics see nothing else
        total += held >= 0
        for code in (0, 1):  # positives and negatives alike
            share = (held == code).sum() / (observed == code).sum()
            assert abs(share - 1 / 3) < 4 * np.sqrt(2 / 9 / (observed == code).sum())
    np.testing.assert_array_equal(total, observed >= 0)  # each label is in one fold


def test_the_fold_depends_on_seed_and_name_only(root):
    fold = dict(part='heldout', index=1)
    every, _ = labels_of(root, known_ratio=1.0, label_fold=fold)
    some, _ = labels_of(root, label_fold=fold)
    observed, _ = labels_of(root)
    np.testing.assert_array_equal(some >= 0, (every >= 0) & (observed >= 0))
    other, _ = labels_of(root, label_fold=dict(fold, seed=1))
    assert ((some >= 0) != (other >= 0)).any()
    order = [4, 0, 6, 2, 1, 5, 3]
    turned, _ = labels_of(root, label_fold=fold, metainfo=dict(classes=[CLASSES[index] for index in order]))
    np.testing.assert_array_equal(turned, some[:, order])


def test_what_a_sample_holds(root):
    mask = dict(type='RandomKnownLabels', known_ratio=0.5)
    dataset = MultiLabelDataset('ann.json', str(root), label_mask=mask, label_fold=dict(part='heldout'), test_mode=True)
    observed, _ = labels_of(root, label_fold=dict(part='heldout'))
    for index in (0, 97):
        info = dataset.get_data_info(index)
        np.testing.assert_array_equal(info['gt_score_full'], observed[index])
        np.testing.assert_array_equal(info['gt_score'], observed[index])


@pytest.mark.parametrize(
    'options',
    [dict(part='test'), dict(part='train', number=1), dict(part='train', index=5), dict(part='heldout', index=1.0)],
)
def test_refused(root, options):
    with pytest.raises(UserError, match="label_fold must have part 'train' or 'heldout', number >= 2 and 0 <= index"):
        MultiLabelDataset('ann.json', str(root), label_fold=options)


def test_thresholds_from_held_out_labels(root):
    """Scores of which 0.8 is right four times in five: precision 0.9 has to be sought above it."""
    held, _ = labels_of(root, known_ratio=1.0, label_fold=dict(part='heldout', number=2))
    _, full = labels_of(root, known_ratio=1.0)
    rng = np.random.default_rng(7)
    scores = np.where(full == 1, rng.choice([0.8, 0.95], full.shape), rng.choice([0.1, 0.8], full.shape, p=[0.9, 0.1]))
    scores += rng.uniform(0, 0.01, full.shape)
    fit, quality = calibrate(scores, held, np.where(held >= 0, np.nan, scores), CLASSES, 0.9)
    chosen = (fit.decide(fit.probabilities(scores)) == 1) & (held < 0)  # labels that chose no threshold
    assert chosen.sum() > 50 and (full[chosen] == 1).mean() > 0.85
    assert quality['positive']['decided'] > 20
