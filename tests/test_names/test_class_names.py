"""Two lists of class names meet: the same in another order are matched by name, or refused where weights are meant."""

import csv
import json

import numpy as np
import pytest
import torch

from sarlp.apps.completion import Record, record_path
from sarlp.apps.completion.union import union_of
from sarlp.apps.review import Review
from sarlp.apps.review.maps import AttentionMaps
from sarlp.apps.run_report.data import read_split
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.label_masks import save_label_mask
from sarlp.datasets.multilabel import MultiLabelDataset
from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.inference.maps import KnownLabels
from sarlp.names.class_names import check_names, columns_by_name, require_same

from ..place import CLASSES, Place, option
from ..test_apps.test_review.conftest import made, review  # noqa: F401  fixtures

ORDER = ('sofa', 'cat', 'dog')
MASK = dict(type='RandomKnownLabels', known_ratio=0.5, seed=1)


def rename(file, classes, target=None):
    """The annotation file with its classes in another order, written by name."""
    content = json.loads(file.read_text())
    names = content['metainfo']['classes']
    for entry in content['data_list']:
        for key in ('positive', 'negative', 'ignore'):
            if isinstance(entry.get(key), list):
                entry[key] = [classes.index(names[index]) for index in entry[key]]
    content['metainfo']['classes'] = list(classes)
    (target or file).write_text(json.dumps(content))


def by_name(dataset):
    """Observed and complete labels, and what is ignored, by image and name of the class."""
    found = {}
    for index in range(len(dataset)):
        image, *arrays = dataset.get_labels(index)
        for name, *values in zip(dataset.classes, *arrays, strict=True):
            found[image, name] = tuple(map(int, values))
    return found


class TestLaw:
    def test_columns(self):
        names = ['b', 'a', 'c']
        columns = columns_by_name(names, ['a', 'c', 'b'], 'x', 'y', 'z')
        assert [names[column] for column in columns] == ['a', 'c', 'b']
        assert columns_by_name(['b', 'a', 'c'], ['c', 'a'], 'x', 'y', 'z', more=True) == [2, 1]

    @pytest.mark.parametrize(
        ('names', 'message'),
        [
            ('ab', r'^here has 2 classes, there has 3; only the latter has c\. Do this\.$'),
            ('abcd', r'^here has 4 classes, there has 3; only the former has d\. Do this\.$'),
            ('abx', r'^here has 3 classes, there has 3; only the former has x, only the latter has c\. Do this\.$'),
        ],
    )
    def test_what_differs_is_told(self, names, message):
        for function in (columns_by_name, require_same):
            with pytest.raises(UserError, match=message):
                function(list(names), list('abc'), 'here', 'there', 'Do this')

    def test_many_names_are_shortened(self):
        with pytest.raises(UserError, match='0, 1, 10, 11, 12, 13, 14, 15, 16, 17 and 10 more'):
            columns_by_name([str(i) for i in range(20)], [], 'x', 'y', 'z')

    def test_order_matters_to_weights(self):
        require_same(['a', 'b'], ('a', 'b'), 'x', 'y', 'z')
        message = 'x and y have the same 3 classes in another order: class 1 is c in the former and b in the latter. z.'
        with pytest.raises(UserError) as error:
            require_same(list('acb'), list('abc'), 'x', 'y', 'z')
        assert str(error.value) == message

    @pytest.mark.parametrize('names', [None, 3, 'abc', [], [1, 'a'], ['a', ''], ['a', 'b', 'a'], [['a']]])
    def test_no_list_of_names(self, names):
        with pytest.raises(UserError, match='^here: '):
            check_names(names, 'here')


@pytest.fixture
def incomplete(place):
    """Four images, in which every kind of label is there."""
    place.entries = [
        {'img_path': f'{i}.png', 'positive': [i % 3], 'negative': [[(i + 1) % 3], 'rest'][i % 2], 'ignore': [i % 2]}
        for i in range(4)
    ]
    dump_annotation(place.ann_file, CLASSES, place.entries)
    return place


class TestDataSet:
    def make(self, place, **options):
        return MultiLabelDataset(ann_file='train.json', data_root=str(place.root), **options)

    @pytest.mark.parametrize('mask', [None, MASK, dict(type='SinglePositive'), dict(type='PerClassBudget', budget=2)])
    def test_another_order(self, incomplete, mask):
        plain = self.make(incomplete, label_mask=mask)
        other = self.make(incomplete, label_mask=mask, metainfo=dict(classes=ORDER))
        assert other.classes == other.metainfo['classes'] == ORDER
        assert by_name(other) == by_name(plain)
        counts = [
            {name: (p, n) for name, p, n in zip(d.classes, *d.label_counts().values(), strict=True)}
            for d in (plain, other)
        ]
        assert counts[0] == counts[1]
        assert [[other.classes[c] for c in other.get_cat_ids(i)] for i in range(4)] == [
            [plain.classes[c] for c in plain.get_cat_ids(i)] for i in range(4)
        ]
        sample = other[1]
        assert dict(zip(ORDER, sample['gt_score'], strict=True)) == {n: by_name(plain)['1.png', n][0] for n in ORDER}

    def test_masks_from_files(self, incomplete):
        known = np.random.default_rng(0).random((4, 3)) < 0.5
        torch.save(torch.from_numpy(known), incomplete.root / 'mask.pt')
        save_label_mask(incomplete.root / 'mask.npz', [f'{i}.png' for i in range(4)], ORDER, known[:, [2, 0, 1]])
        masks = [
            dict(type='ReferenceLabelMask', file=str(incomplete.root / 'mask.pt')),  # has places alone
            dict(type='FileLabelMask', file=str(incomplete.root / 'mask.npz')),
        ]
        found = [
            by_name(self.make(incomplete, label_mask=mask, metainfo=dict(classes=classes)))
            for mask in masks
            for classes in (CLASSES, ORDER)
        ]
        full = by_name(self.make(incomplete))
        for (image, name), (observed, *_) in found[0].items():
            hidden = not known[int(image[0]), CLASSES.index(name)]
            assert observed == (-1 if hidden else full[image, name][1])
        assert found[1:] == found[:1] * 3

    @pytest.mark.parametrize(
        ('classes', 'messages'),
        [
            (('cat', 'dog'), ['train.json has 3 classes', 'has 2; only the former has sofa', 'must name them all']),
            (('cat', 'dog', 'sofa', 'yak'), ['only the latter has yak']),
            (('cat', 'dog', 'yak'), ['only the former has sofa, only the latter has yak']),
            (('cat', 'dog', 'cat'), ['occur more than once: cat']),
            (7, ["found '7'"]),
        ],
    )
    def test_other_names_are_refused(self, place, capsys, classes, messages):
        config = place.config()
        with open(config, 'a') as file:
            file.write(f"train_dataloader['dataset']['metainfo'] = dict(classes={classes!r})\n")
        message = place.refused(capsys, 'train.py', config)
        for part in messages:
            assert part in message
        assert 'num_classes' not in message


class TestRuns:
    @pytest.fixture
    def other(self, tmp_path):
        """The same data with annotation files in another order."""
        root = tmp_path / 'other'
        root.mkdir()
        place = Place(root)
        rename(place.ann_file, ORDER)
        return place

    def test_validation_is_matched_by_name(self, place):
        rename(place.ann_file, ORDER, place.root / 'test.json')
        cfg = load_config(place.config(MASK), {'val_dataloader.dataset.ann_file': 'test.json'})
        runner = build_runner(cfg)
        val = runner.build_val_loop(runner._val_loop).dataloader.dataset
        assert val.classes == CLASSES
        assert by_name(val) == by_name(MultiLabelDataset(ann_file='train.json', data_root=str(place.root)))

    def test_config_decides_for_all(self, place):
        """The order of the first training data set is that of the model and of the other data."""
        cfg = load_config(place.config(), {'train_dataloader.dataset.metainfo.classes': list(ORDER)})
        runner = build_runner(cfg)
        assert runner.train_dataloader.dataset.classes == ORDER
        assert runner.build_val_loop(runner._val_loop).dataloader.dataset.classes == ORDER

    def test_nothing_changes_where_the_order_is_the_same(self, place):
        cfg = load_config(place.config())
        before = cfg.train_dataloader.dataset.to_dict()
        build_runner(cfg)
        assert cfg.train_dataloader.dataset.to_dict() == before

    def test_test_data_are_matched_by_name(self, place, other, capsys):
        """Metrics, predictions and recovered labels of the same images do not depend on the order in the files."""
        checkpoint = place.checkpoint()
        found = []
        for data in (place, other):
            out = data.root / 'out'
            data.run('test.py', data.config(MASK), checkpoint, '--out', out)
            with open(out / 'predictions.csv', newline='') as file:
                predictions = list(csv.DictReader(file))
            with open(out / 'recovered_labels.csv', newline='') as file:
                recovered = sorted(csv.reader(file))
            metrics = json.loads((out / 'metrics.json').read_text())
            found.append((predictions, recovered, {k: v for k, v in metrics.items() if k != 'protocol'}))
        assert found[0][0] == found[1][0]
        assert found[0][1] == found[1][1] and len(found[0][1]) > 4
        assert found[0][2] == found[1][2]

    @pytest.mark.parametrize('resume', [False, True])
    @pytest.mark.parametrize(
        ('classes', 'message'),
        [
            (ORDER, 'the same 3 classes in another order: class 0 is sofa in the former and cat in the latter'),
            (('cat', 'dog', 'yak'), 'only the former has yak, only the latter has sofa'),
        ],
    )
    def test_weights_of_other_classes(self, place, capsys, resume, classes, message):
        content = torch.load(place.checkpoint(), weights_only=True)
        content['meta'] |= {'dataset_meta': {'classes': classes}, 'epoch': 1, 'iter': 2}
        torch.save(content, place.bad)
        arguments = ('--resume', place.bad) if resume else option('load_from', place.bad)
        refused = place.refused(capsys, 'train.py', place.config(), *arguments)
        assert message in refused
        assert str(place.bad) in refused and 'Weights belong to the classes' in refused

    def test_the_remedy_for_weights_in_another_order(self, place):
        content = torch.load(place.checkpoint(), weights_only=True)
        content['meta']['dataset_meta']['classes'] = ORDER
        torch.save(content, place.bad)
        options = ('train_dataloader.dataset.metainfo.classes=(sofa,cat,dog)', f'load_from={place.bad}')
        place.run('train.py', place.config(), '--cfg-options', *options)
        assert read_checkpoint(place.work / 'epoch_1.pth')['meta']['dataset_meta']['classes'] == ORDER

    def test_data_of_other_classes(self, place, capsys):
        checkpoint = place.checkpoint()
        dump_annotation(place.ann_file, ['cat', 'dog', 'yak'], place.entries)
        message = place.refused(capsys, 'test.py', place.config(), checkpoint)
        assert (
            f'train.json has 3 classes, {checkpoint} has 3; only the former has yak, only the latter has sofa'
            in message
        )

    def test_checkpoint_with_a_class_twice(self, place):
        content = torch.load(place.checkpoint(), weights_only=True)
        content['meta']['dataset_meta']['classes'] = ['cat', 'cat', 'dog']
        torch.save(content, place.bad)
        with pytest.raises(UserError, match='bad, meta.dataset_meta.classes: class names must differ, .* once: cat'):
            init_model(place.config(), place.bad)

    def test_labels_of_figures_and_reports(self, place):
        cfg = load_config(place.config(MASK))
        rename(place.ann_file, ORDER)
        split = read_split(cfg, 'train')
        again = split.in_order(CLASSES, 'here')
        labels = KnownLabels(cfg, CLASSES)
        for entry, full in zip(place.entries, again.full, strict=True):
            assert [CLASSES[i] for i in np.flatnonzero(full == 1)] == [CLASSES[i] for i in entry['positive']]
            drawn = labels[place.root / entry['img_path']]
            assert drawn[1].tolist() == full.tolist()
        assert [path.name for path in split.paths] == [entry['img_path'] for entry in place.entries]
        with pytest.raises(UserError, match='only the latter has yak'):
            KnownLabels(cfg, (*CLASSES, 'yak'))


class TestCompletion:
    def test_union_of_splits(self, place):
        rename(place.ann_file, ORDER, place.root / 'test.json')
        content = json.loads((place.root / 'test.json').read_text())
        for entry in content['data_list']:
            entry['img_path'] = f'test/{entry["img_path"]}'
        (place.root / 'test.json').write_text(json.dumps(content))
        cfg = load_config(place.config(), {'train_dataloader.dataset.label_mask': None})
        cfg.test_dataloader.dataset.ann_file = 'test.json'
        union = union_of(
            {'train': cfg.train_dataloader.dataset, 'test': cfg.test_dataloader.dataset}, place.root / 'folds'
        )
        metainfo, data_list = load_annotation(union.ann_file)
        assert metainfo['classes'] == CLASSES
        positive = [entry['positive'] for entry in place.entries]
        assert [entry['positive'] for entry in data_list] == positive * 2

    def test_labels_go_back_by_name(self, made, review):  # noqa: F811
        """Annotation files in another order than the record: the same labels come out, and the same spreadsheet."""
        plain = review.export(made.place.root / 'plain')
        known = [review.known(index) for index in range(len(review.queue))]
        review.close()
        names = load_annotation(plain.files['train'])[0]['classes']
        for split in ('trainval', 'test'):
            rename(made.root / 'labels' / f'{split}.json', names[::-1])
        again = Review(made.table)
        assert again.known_missing is None
        assert [again.known(index) for index in range(len(again.queue))] == known
        exported = again.export(made.place.root / 'again')
        again.close()
        assert exported.files['source'].read_bytes() == plain.files['source'].read_bytes()
        for split in ('train', 'test'):
            one, other = (load_annotation(files[split]) for files in (plain.files, exported.files))
            assert other[0]['classes'] == one[0]['classes'][::-1]
            for entry, turned in zip(one[1], other[1], strict=True):
                assert entry['img_path'] == turned['img_path']
                for key in ('positive', 'negative'):
                    assert sorted(2 - index for index in turned[key]) == entry[key]

    def test_maps_of_a_model_in_another_order(self, made):  # noqa: F811
        record = Record.read(record_path(made.table))
        image = load_annotation(record.annotations['train'])[1][0]['img_path']
        path = record.img_root / image
        expected = [AttentionMaps(record).picture(image, path, name) for name in record.classes]
        (checkpoint,) = record.checkpoints
        content = torch.load(checkpoint, weights_only=True)
        content['meta']['dataset_meta']['classes'] = record.classes[::-1]
        torch.save(content, checkpoint)
        found = [AttentionMaps(record).picture(image, path, name) for name in record.classes[::-1]]
        assert found == expected
        assert len(set(expected)) == 3
