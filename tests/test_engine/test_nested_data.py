"""Training, testing, completing and drawing with data sets that are made of data sets, as a user runs them."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sarlp.apps.completion import Record, complete_labels, record_path
from sarlp.apps.review.training_command import training_command
from sarlp.apps.run_report import write_run_report
from sarlp.apps.run_report.workdir import read_predictions
from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.label_masks import load_label_mask
from sarlp.datasets.nesting import build_labels, leaves
from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.errors import UserError

from ..place import CLASSES
from .test_ranks import torchrun
from .test_resuming import same

MASK = dict(type='RandomKnownLabels', known_ratio=0.5, seed=1)
DOCS = Path(__file__).parents[2] / 'docs' / 'data.md'


@pytest.fixture
def two(place):
    """A second data set of 6 images in a folder of its own, with its classes in another order."""
    (place.root / 'second').mkdir()
    names = (CLASSES[2], *CLASSES[:2])
    entries = [{'img_path': f'more/{i}.png', 'positive': [i % 3], 'negative': 'rest'} for i in range(6)]
    (place.root / 'second/more').mkdir()
    for number, entry in enumerate(entries):
        image = np.random.default_rng(90 + number).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(place.root / 'second' / entry['img_path']), image)
    dump_annotation(place.root / 'second/train.json', names, entries, made='later')
    return place


def config(place, dataset, loader='train_dataloader', mask=MASK):
    """The config of the place, with another data set; texts ``FIRST`` and ``SECOND`` are its two folders."""
    path = place.config(mask)
    text = f'\n{loader}["dataset"] = {dataset}\n'
    text = text.replace('FIRST', f'{str(place.root)!r}').replace('SECOND', f'{str(place.root / "second")!r}')
    path.write_text(path.read_text() + text)
    return path


LISTED = "dict(data_root=[FIRST, SECOND], ann_file=['train.json', 'train.json'])"
PART = (
    f"dict(type='MultiLabelDataset', ann_file='train.json', label_mask={MASK}, "
    'pipeline=_base_.train_dataloader.dataset.pipeline, data_root=%s)'
)


def wrapped(text):
    """A data set from ``A`` and ``B``, the two parts; it replaces that of the base."""
    text = re.sub(r'\b([AB])\b', lambda name: PART % {'A': 'FIRST', 'B': 'SECOND'}[name[1]], text)
    return text.replace('dict(', 'dict(_delete_=True, ', 1)


REPEAT = wrapped("dict(type='RepeatDataset', times=2, dataset=A)")
CONCAT = wrapped("dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=A), B])")
BALANCED = wrapped(
    "dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=dict(type='ConcatDataset', datasets=[A, B]))"
)


@pytest.mark.parametrize(('dataset', 'images'), [(LISTED, 10), (REPEAT, 8), (CONCAT, 14), (BALANCED, None)])
def test_training(two, dataset, images):
    two.run('train.py', config(two, dataset))
    log = next(two.work.glob('*/*.log')).read_text()
    found = int(re.search(r'(\d+) training images, 3 classes', log)[1])
    assert found == images if images else found >= 10
    checkpoint = read_checkpoint(two.work / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == -(-found // 2)
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == CLASSES  # of the first part
    assert checkpoint['meta']['dataset_meta'].get('made') == (None if dataset == REPEAT else [None, 'later'])


@pytest.mark.parametrize('dataset', [CONCAT, BALANCED])
def test_resumed_to_the_same_bits(two, dataset):
    path = config(two, dataset)
    arguments = ('train.py', path, '--cfg-options', 'train_cfg.max_epochs=2')
    two.run(*arguments, f'work_dir={two.root}/whole')
    shutil.copytree(two.root / 'whole', two.root / 'cut')
    (two.root / 'cut' / 'epoch_2.pth').unlink()
    for best in (two.root / 'cut').glob('best_*.pth'):
        best.unlink()
    (two.root / 'cut' / 'last_checkpoint').unlink()
    two.run(*arguments, f'work_dir={two.root}/cut', '--resume')
    whole, cut = (read_checkpoint(two.root / name / 'epoch_2.pth') for name in ('whole', 'cut'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        same(whole[key], cut[key], key)


def test_testing_and_what_comes_of_it(two):
    """Recovery on two folders, one of them twice: each image once, labels by name, in one table."""
    path = config(two, CONCAT)
    two.run('train.py', path)
    out = two.root / 'results'
    two.run('test.py', path, two.work / 'epoch_1.pth', '--out', out)
    dataset = build_labels(load_config(path).train_dataloader.dataset)
    hidden = set()
    parts = [dataset] if not hasattr(dataset, 'leaves') else dataset.leaves
    for part in parts:
        for index in range(len(part)):
            image, observed, full, _ = part.get_labels(index)
            hidden |= {
                (image, part.classes[c], str(int(full[c]))) for c in np.flatnonzero((observed < 0) & (full >= 0))
            }
    with open(out / 'recovered_labels.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({tuple(row.values())[:2] for row in rows}) == len(hidden)
    assert {image for image, *_ in hidden} == {tuple(row.values())[0] for row in rows}
    protocol = json.loads((out / 'metrics.json').read_text())['protocol']
    assert protocol['label_mask'] == MASK
    page = write_run_report(two.work, results=out, images=1).read_text()
    assert 'RandomKnownLabels(known_ratio=0.5, seed=1)' in page and '>10<' in page.replace('\n', '')
    two.run('visualize_cam.py', path, two.work / 'epoch_1.pth', '--split', 'train', '--out-dir', two.root / 'maps')
    assert len(list((two.root / 'maps').rglob('*.png'))) >= 6


def test_mask_is_exported_for_both(two):
    two.run('dataset_converters/label_mask.py', config(two, CONCAT), two.root / 'mask.npz')
    image_ids, classes, known = load_label_mask(two.root / 'mask.npz')
    assert (len(image_ids), tuple(classes)) == (10, CLASSES)
    assert 0 < known.sum() < 30


def test_validation_with_two_processes(two, distributed_env):
    """The rows of two ranks come together in the order of the data set, whose parts have indices of their own."""
    listed = LISTED.replace('dict(', 'dict(test_mode=True, ', 1)
    checkpoint = two.checkpoint()
    path = config(two, listed, 'test_dataloader')
    two.run('test.py', path, checkpoint, '--out', two.root / 'one', '--no-recovery')
    tool = Path(__file__).parents[2] / 'tools' / 'test.py'
    arguments = (path, checkpoint, '--out', two.root / 'two', '--no-recovery', '--launcher', 'pytorch')
    done = torchrun(2, tool, *arguments, env=distributed_env())
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (read_predictions(two.root / name / 'predictions.csv') for name in ('one', 'two'))
    assert one.image_ids == other.image_ids and len(one.image_ids) == 10
    assert one.classes == other.classes
    np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)


class TestRefusals:
    def refused(self, two, capsys, path, tool='train.py', *arguments):
        message = two.refused(capsys, tool, path, *arguments)
        assert not two.work.exists()
        return message

    def test_repeats_are_not_measured(self, two, capsys):
        message = self.refused(two, capsys, config(two, REPEAT, 'val_dataloader'))
        assert 'val_dataloader.dataset: images that are tested count once; leave RepeatDataset' in message

    def test_a_path_twice_is_not_measured(self, two, capsys):
        shutil.copy(two.root / '0.png', two.root / 'second' / '0.png')
        dump_annotation(two.root / 'second/train.json', CLASSES, two.entries[:1])
        message = self.refused(two, capsys, config(two, LISTED, 'val_dataloader'))
        assert 'val_dataloader.dataset: 1 image paths are in more than one of' in message and '0.png' in message

    def test_other_classes(self, two, capsys):
        entries = [{'img_path': f'more/{i}.png', 'positive': [], 'negative': 'rest'} for i in range(6)]
        dump_annotation(two.root / 'second/train.json', ['cat', 'dog', 'yak'], entries)
        message = self.refused(two, capsys, config(two, CONCAT))
        assert 'only the former has yak, only the latter has sofa' in message

    def test_all_that_is_missing(self, two, capsys):
        shutil.rmtree(two.root / 'second')
        message = self.refused(two, capsys, config(two, CONCAT))
        assert f'{two.root}/second/train.json, {two.root}/second\n' in message

    def test_option_for_the_images_at_a_wrapper(self, two, capsys):
        options = ('--cfg-options', 'train_dataloader.dataset.label_mask=None')
        message = self.refused(two, capsys, config(two, CONCAT), 'train.py', *options)
        assert 'found label_mask. What is for the images goes into train_dataloader.dataset.datasets.0' in message

    def test_completion_of_two_files(self, two, capsys):
        for arguments in (('--folds', 2), (two.checkpoint(),)):
            message = two.refused(
                capsys, 'recover_labels.py', config(two, CONCAT), *arguments, '--out', two.out / 'r.csv'
            )
            assert 'train_dataloader.dataset is made of 2 data sets' in message
            assert 'complete each by itself' in message


def test_an_image_in_two_files_is_reported(two):
    dump_annotation(two.root / 'again.json', CLASSES, two.entries[1:3])
    path = config(two, "dict(data_root=FIRST, ann_file=['train.json', 'again.json'])")
    two.run('train.py', path)
    log = next(two.work.glob('*/*.log')).read_text()
    assert f'2 images are in more than one of the data sets ({two.root}/train.json, {two.root}/again.json)' in log
    assert '6 training images' in log


def test_completion_of_repeated_images(tmp_path, digits):
    """Repeats train the folds; every image is completed once, and the command of the next training fits the config."""
    from .conftest import reduced

    root = tmp_path / 'digits'
    shutil.copytree(digits, root)
    base = load_config('sarlp_r18_digits_p0.1').filename
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {base!r}\n'
        'train_dataloader = dict(dataset=dict(_delete_=True, type="RepeatDataset", times=2,\n'
        '    dataset=_base_.train_dataloader.dataset))\n'
    )
    options = reduced(digits)
    for name in ('data_root', 'label_mask.known_ratio'):
        options.pop(f'train_dataloader.dataset.{name}')
    options['train_dataloader.dataset.dataset.data_root'] = str(root)
    options['train_dataloader.dataset.dataset.label_mask.known_ratio'] = 0.5
    options['train_cfg.max_epochs'] = 1
    out = tmp_path / 'recovered.csv'
    found = complete_labels(tmp_path / 'mine.py', None, out, folds=2, precision=0.6, cfg_options=options)
    assert len(found.scored.image_ids) == len(set(found.scored.image_ids)) == 24
    assert sorted(path.name for path in (tmp_path / 'recovered_labels').iterdir()) == ['trainval.json']
    record = Record.read(record_path(out))
    words = training_command(record, {'train': found.files['train']}).split()[4:]
    cfg = load_config(tmp_path / 'mine.py', words)
    (leaf,) = leaves(cfg.train_dataloader.dataset)
    assert (leaf.ann_file, leaf.label_mask) == (str(found.files['train'].absolute()), None)
    steps = read_checkpoint(record.checkpoints[0])['meta']['iter']
    trained = [image for image in found.scored.image_ids if record.checkpoint_of(image) != record.checkpoints[0]]
    assert steps == math.ceil(2 * len(trained) / 8)


def test_refused_before_the_images_are_read(two):
    """What the Runner would say only in training."""
    cfg = load_config(config(two, CONCAT))
    cfg.val_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.val_dataloader.dataset)
    with pytest.raises(UserError, match='val_dataloader.dataset: images that are tested count once'):
        build_runner(cfg)


@pytest.mark.parametrize('number', [0, 1])
def test_voc_example_of_the_docs(tmp_path, monkeypatch, number):
    """The configs of docs/data.md for VOC 2007 and VOC 2012, in a folder with a few images of each."""
    section = DOCS.read_text().split('### VOC 2007 and VOC 2012 together')[1].split('\n## ')[0]
    text = re.findall(r'```python\n(.*?)```', section, re.S)[number]
    monkeypatch.chdir(tmp_path)
    for year, files in (('VOC2007', ('trainval', 'test')), ('VOC2012', ('trainval', 'test'))):
        root = tmp_path / 'data' / year
        for name in files:
            entries = []
            for index in range(3):
                image = root / 'JPEGImages' / f'{year}_{name}_{index}.jpg'
                image.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(image), np.full((32, 32, 3), 40 * index, np.uint8))
                entries.append({'img_path': f'JPEGImages/{image.name}', 'positive': [index % 2], 'negative': 'rest'})
            dump_annotation(root / 'labels' / f'{name}.json', ['cat', 'dog'], entries)
    (tmp_path / 'mine.py').write_text(text)
    dataset = build_labels(load_config('mine.py').train_dataloader.dataset)
    images = [dataset.get_labels(index)[0] for index in range(len(dataset))]
    expected = [('VOC2007', 'trainval'), ('VOC2012', 'trainval'), ('VOC2012', 'test')][: 3 - number]
    assert images == [f'JPEGImages/{year}_{name}_{i}.jpg' for year, name in expected for i in range(3)]
    assert all(leaf.label_mask.known_ratio == 0.1 for leaf in leaves(load_config('mine.py').train_dataloader.dataset))
