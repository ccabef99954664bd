"""What is known of which image, beyond the masks of test_label_masks.py, and which images select the epoch."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from sarlp.datasets.annotation import dump_annotation, labels_of
from sarlp.datasets.label_masks import PerClassBudget, RandomKnownLabels, load_label_mask
from sarlp.datasets.multilabel import MultiLabelDataset, hold_out
from sarlp.datasets.reference_label_mask import ReferenceLabelMask
from sarlp.engine import load_config
from sarlp.engine.testing import describe_protocol
from sarlp.errors import UserError

CLASSES = ('cat', 'dog', 'sofa', 'tree', 'van')
NUM_IMAGES = 97


def make_entries(number=NUM_IMAGES):
    rng = np.random.default_rng(0)
    return [
        {'img_path': f'a/{i}.jpg', 'positive': rng.permutation(5)[: rng.integers(4)].tolist(), 'negative': 'rest'}
        for i in range(number)
    ]


ENTRIES = make_entries()


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'a').mkdir()
    for entry in ENTRIES:
        (tmp_path / entry['img_path']).touch()
    dump_annotation(tmp_path / 'ann.json', CLASSES, ENTRIES)
    return tmp_path


def bound(mask, entries=ENTRIES):
    mask.bind(CLASSES, 'ann.json', entries)
    return mask


def known_by(mask, entries=ENTRIES):
    return np.stack([mask.known(entry['img_path'], labels_of(entry, 5)[0]) for entry in entries])


class TestPerClassBudget:
    @pytest.mark.parametrize('budget', [1, 13, 96, 97])
    def test_each_class_is_known_for_so_many_images(self, budget):
        known = known_by(bound(PerClassBudget(budget)))
        assert known.dtype == bool and known.sum(0).tolist() == [budget] * 5
        if budget == 13:
            assert not (known[:, :1] == known).all()  # of each class other images

    def test_all_are_known_where_they_are_fewer(self):
        assert known_by(bound(PerClassBudget(1009))).all()

    def test_masks_are_nested_and_nested_in_random_ones(self):
        few, many = (known_by(bound(PerClassBudget(budget, seed=3))) for budget in (7, 31))
        assert (few <= many).all()
        assert not np.array_equal(few, known_by(bound(PerClassBudget(7, seed=4))))
        # the same numbers are drawn, so a class's budget is a random mask of another ratio
        ratio = bound(PerClassBudget(31, seed=3))._limit[2]
        random = known_by(bound(RandomKnownLabels(np.nextafter(ratio, 1), seed=3)))
        np.testing.assert_array_equal(random[:, 2], many[:, 2])

    def test_order_does_not_matter(self):
        back = known_by(bound(PerClassBudget(13), ENTRIES[::-1]))
        np.testing.assert_array_equal(back, known_by(bound(PerClassBudget(13))))

    def test_what_is_unknown_in_the_data_costs_nothing(self):
        entries = [dict(e, negative=[c for c in (0, 1) if c not in e['positive']]) for e in ENTRIES]
        labels = np.stack([labels_of(e, 5)[0] for e in entries])
        there = (labels >= 0).sum(0)
        assert there[0] == 97 and 13 < there[2] < 61
        for budget in (13, 61):
            mask = bound(PerClassBudget(budget), entries)
            known = known_by(mask, entries)
            assert known.sum(0).tolist() == np.minimum(there, budget).tolist()
            assert not (known & (labels < 0)).any()
            observed = np.stack([mask(e['img_path'], row) for e, row in zip(entries, labels, strict=True)])
            np.testing.assert_array_equal(observed >= 0, known)

    @pytest.mark.parametrize('budget', [0, -3, 2.0, True, '3', None])
    def test_bad_budget(self, budget):
        with pytest.raises(UserError, match='label_mask.budget must be a whole number of images, at least 1, got'):
            PerClassBudget(budget)


MASK = torch.from_numpy(np.random.default_rng(1).random((NUM_IMAGES, 5)) < 0.3)


class TestReferenceLabelMask:
    @pytest.mark.parametrize('dtype', [torch.int64, torch.uint8, torch.float32, torch.bool])
    @pytest.mark.parametrize('shape', [(NUM_IMAGES, 1, 5), (NUM_IMAGES, 5)])
    def test_rows_are_the_images_in_order(self, tmp_path, dtype, shape):
        torch.save(MASK.to(dtype).reshape(shape), tmp_path / 'partial_label_0.30.pt')
        known = known_by(bound(ReferenceLabelMask(tmp_path / 'partial_label_0.30.pt')))
        assert known.dtype == bool
        np.testing.assert_array_equal(known, MASK)

    @pytest.mark.parametrize('suffix', ['', '.jpg'])
    def test_image_list(self, tmp_path, suffix):
        torch.save(MASK.long(), tmp_path / 'mask.pt')
        names = [str(i) if not suffix else f'a/{i}.jpg' for i in reversed(range(NUM_IMAGES))]
        (tmp_path / 'list.txt').write_text('\n'.join(names) + '\n')
        some = ENTRIES[3:61]  # the others were dropped
        mask = bound(ReferenceLabelMask(tmp_path / 'mask.pt', tmp_path / 'list.txt'), some)
        np.testing.assert_array_equal(known_by(mask, some), MASK.flip(0)[3:61])

    def test_image_lists_that_do_not_fit(self, tmp_path):
        torch.save(MASK.long(), tmp_path / 'mask.pt')
        path = tmp_path / 'list.txt'
        mask = ReferenceLabelMask(tmp_path / 'mask.pt', path)
        path.write_text('\n'.join(f'{i}' for i in range(1, 98)))
        with pytest.raises(UserError, match=r'list.txt: 1 images of ann.json are not in it: a/0.jpg'):
            bound(mask)
        path.write_text('\n'.join(f'{i % 95}' for i in range(97)))
        with pytest.raises(UserError, match=r'list.txt: 2 images of ann.json are in it more than once: a/0.jpg, a/1.j'):
            bound(mask)
        path.write_bytes(b'a/0.jpg\n\xff')
        with pytest.raises(UserError, match=r'list.txt: expected a text file with an image a line, in UTF-8'):
            bound(mask)
        path.unlink()
        with pytest.raises(UserError, match=r'list.txt: expected .* correct label_mask.image_list'):
            bound(mask)

    @pytest.mark.parametrize(
        'content, message',
        [
            (MASK[:89].long(), 'for 89 images and 5 classes, but ann.json has 97 images and ann.json 5 classes'),
            (MASK[:, :3].long(), 'for 97 images and 3 classes, but .* 5 classes.*label_mask.image_list'),
            (MASK.long() - 1, r'0 unknown and 1 known, found the shape \(97, 5\) and the values -1, 0'),
            (torch.rand(97, 5), r'the shape \(97, 5\)'),
            (MASK[:, None, None].long(), r'the shape \(97, 1, 1, 5\) and the values 0, 1'),
            ({'mask': MASK}, 'expected a tensor of 0 and 1, found a dict'),
            (MASK.to(torch.complex64), 'it holds a tensor of complex numbers'),
            (Path('x'), r'no file of torch.save that holds a plain tensor'),  # a class, which could run code
        ],
    )
    def test_bad_files(self, tmp_path, content, message):
        path = tmp_path / 'mask.pt'
        torch.save(content, path)
        with pytest.raises(UserError, match=message) as error:
            bound(ReferenceLabelMask(path))
        assert str(path) in str(error.value)

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match='none.pt: no such label mask'):
            bound(ReferenceLabelMask(tmp_path / 'none.pt'))
        (tmp_path / 'text').write_text('hello')
        with pytest.raises(UserError, match='no file of torch.save'):
            bound(ReferenceLabelMask(tmp_path / 'text'))


def test_masks_are_bound_by_the_data_set(root):
    torch.save(MASK[:, None].long(), root / 'mask.pt')
    for mask, known in (
        (dict(type='PerClassBudget', budget=7), known_by(bound(PerClassBudget(7)))),
        (dict(type='ReferenceLabelMask', file=str(root / 'mask.pt')), MASK.numpy()),
    ):
        dataset = MultiLabelDataset('ann.json', str(root), label_mask=mask)
        observed = np.stack([dataset.get_labels(i)[1] for i in range(len(dataset))])
        np.testing.assert_array_equal(observed >= 0, known)


class TestHoldOut:
    def test_the_parts_share_no_image(self):
        train, held_out = (hold_out(ENTRIES, part, 0.3, seed=5) for part in ('train', 'holdout'))
        assert sorted(e['img_path'] for e in train + held_out) == sorted(e['img_path'] for e in ENTRIES)
        assert 17 < len(held_out) < 43

    def test_share_and_seed(self):
        many = make_entries(10_007)
        names = {share: {e['img_path'] for e in hold_out(many, 'holdout', share)} for share in (0.1, 0.2)}
        assert 0.09 < len(names[0.1]) / 10_007 < 0.11
        assert names[0.1] < names[0.2]
        assert {e['img_path'] for e in hold_out(many, 'holdout', 0.1, seed=1)} != names[0.1]
        assert {e['img_path'] for e in hold_out(many[::-1], 'holdout', 0.1)} == names[0.1]

    def test_the_mask_is_the_same_with_and_without(self, root):
        def observed(**options):
            mask = dict(type='PerClassBudget', budget=13)
            dataset = MultiLabelDataset('ann.json', str(root), label_mask=mask, **options)
            return {name: labels.tolist() for name, labels, *_ in map(dataset.get_labels, range(len(dataset)))}

        train, held_out = (observed(holdout=dict(part=part, share=0.3)) for part in ('train', 'holdout'))
        assert train | held_out == observed() and not train.keys() & held_out.keys()

    @pytest.mark.parametrize(
        'options, message',
        [
            (dict(part='test'), "holdout.part must be 'train' or 'holdout', got 'test'"),
            (dict(part='train', share=0), r'holdout.share must be in \(0, 1\), got 0'),
            (dict(part='train', share=1.0), r'must be in \(0, 1\), got 1.0'),
            (dict(part='holdout', share=1e-9), "leaves no image of 97 in the part 'holdout'"),
        ],
    )
    def test_bad_options(self, root, options, message):
        with pytest.raises(UserError, match=message):
            MultiLabelDataset('ann.json', str(root), holdout=options)

    def test_config(self):
        cfg = load_config('sarlp_r101_voc_p0.1_holdout')
        plain = load_config('sarlp_r101_voc_p0.1')
        train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
        assert train.holdout == dict(part='train', share=0.1, seed=0)
        assert val.holdout == dict(part='holdout', share=0.1, seed=0)
        assert val.ann_file == train.ann_file and val.get('label_mask') is None and val.test_mode
        assert val.pipeline == plain.test_dataloader.dataset.pipeline
        assert train.label_mask == plain.train_dataloader.dataset.label_mask
        assert cfg.test_dataloader == plain.test_dataloader
        selections = [describe_protocol(c, 'best_mAP_epoch_3.pth', {}, {})['epoch_selection'] for c in (plain, cfg)]
        assert selections[0] == 'best EMA mAP on the test set'
        assert selections[1].startswith('best EMA mAP on held-out training images (') and '0.1' in selections[1]


def test_tool(root, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'label_mask.py')
    out = root / 'mask.npz'
    options = [
        f'train_dataloader.dataset.data_root={root}',
        'train_dataloader.dataset.ann_file=ann.json',
        'train_dataloader.dataset.label_mask.known_ratio=0.3',
    ]
    monkeypatch.setattr('sys.argv', [tool, 'sarlp_r101_voc_p0.1', str(out), '--cfg-options', *options])
    runpy.run_path(tool, run_name='__main__')
    image_ids, classes, known = load_label_mask(out)
    assert image_ids == [e['img_path'] for e in ENTRIES] and tuple(classes) == CLASSES
    np.testing.assert_array_equal(known, known_by(bound(RandomKnownLabels(0.3))))
    printed = capsys.readouterr().out
    assert f'97 images x 5 classes, {known.mean():.2%} of the labels known' in printed and 'sha256 ' in printed
    with np.load(out) as file:
        assert str(file['sha256']) in printed
    # and the file is a mask again
    dataset = MultiLabelDataset('ann.json', str(root), label_mask=dict(type='FileLabelMask', file=str(out)))
    np.testing.assert_array_equal(np.stack([dataset.get_labels(i)[1] for i in range(97)]) >= 0, known)
