"""The list of bad input: each item through a tool, before any step of training, with a message to act upon.

A message names the file (or the option), the entry, and the remedy; nothing half-written stays.
"""

import json

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper

from sarlp.datasets.annotation import dump_annotation
from sarlp.io.embeddings import save_embeddings

from .place import CLASSES, RESNET, option


@pytest.fixture(autouse=True)
def no_step(monkeypatch):
    def step(self, loss):
        raise AssertionError('a training step was taken')

    monkeypatch.setattr(OptimWrapper, 'update_params', step)


def entry(place, change):
    """The annotation file with its second entry changed, past the checks of the writer."""
    content = json.loads(place.ann_file.read_text())
    content['data_list'][1] |= change
    place.ann_file.write_text(json.dumps(content))
    return 'train.py', place.config()


def out_of_range(place):
    return entry(place, {'positive': [0, 3]})


def both(place):
    return entry(place, {'positive': [1], 'negative': [2, 1]})


def duplicate(place):
    return entry(place, {'img_path': '0.png'})


def unknown_key(place):
    return entry(place, {'postive': [1]})


def empty_split(place):
    place.ann_file.write_text(json.dumps({'metainfo': {'classes': CLASSES}, 'data_list': []}))
    return 'train.py', place.config()


def missing_images(place):
    more = [{'img_path': f'gone/{i}.png', 'positive': [0], 'negative': 'rest'} for i in range(13)]
    dump_annotation(place.ann_file, CLASSES, [*place.entries, *more])
    return 'train.py', place.config()


def other_classes(place):
    dump_annotation(place.root / 'test.json', ['cat', 'dog', 'tree'], place.entries)
    return 'train.py', place.config(), *option('val_dataloader.dataset.ann_file', 'test.json')


def too_many_rows(place):
    save_embeddings(place.root / 'a.npz', np.ones((4, 8)), [*CLASSES, 'tree'], 'own', 'test')
    return 'train.py', place.config(), *option('model.head.label_embedding.file', place.root / 'a.npz')


def nan_in_embeddings(place):
    rows = np.ones((3, 8), np.float32)
    rows[1, 5] = np.nan
    np.savez(place.root / 'a.npz', embeddings=rows, classes=np.array(CLASSES))
    return 'train.py', place.config(), *option('model.head.label_embedding.file', place.root / 'a.npz')


def known_ratio(value):
    def call(place):
        return 'train.py', place.config(), *option('train_dataloader.dataset.label_mask.known_ratio', value)

    return call


def odd_size(place):
    config = place.config()
    config.write_text(
        config.read_text()
        + 'train_dataloader["dataset"]["pipeline"] = [\n'
        + "    dict(type='LoadImage'), dict(type='Resize', scale=(60, 60)), dict(type='PackMultiLabel')]\n"
    )
    return 'train.py', config


def another_model(place):
    checkpoint = place.checkpoint()
    content = torch.load(checkpoint)
    state = content['state_dict']
    state['head.more.weight'] = state.pop('head.recovery.score.bias')
    state['backbone.conv1.weight'] = torch.ones(3, 5)
    torch.save(content, checkpoint)
    return 'test.py', place.config(), checkpoint, '--out', place.out


def no_checkpoint(place):
    place.bad.write_text('epoch,loss\n1,0.5\n')
    return 'test.py', place.config(), place.bad, '--out', place.out


def no_checkpoint_to_resume(place):
    place.bad.write_text('epoch,loss\n1,0.5\n')
    return 'train.py', place.config(), '--resume', place.bad


def weights_without_classes(place):
    torch.save({'state_dict': {}}, place.bad)
    return 'visualize_cam.py', place.config(), place.bad, '--img', place.root / '0.png', '--out-dir', place.out


def undecodable_image(place):
    (place.root / '2.png').write_bytes((place.root / '2.png').read_bytes()[:-99])
    return 'train.py', place.config(), *option('train_dataloader.batch_size', 4)


LIST = [
    (
        'class id out of range',
        out_of_range,
        ['train.json, data_list[1]', '1.png', '0 to 2', 'found [3]', 'Ids are positions'],
    ),
    (
        'both positive and negative',
        both,
        ['train.json, data_list[1]', '1.png', 'both positive and negative: 1 (dog)', 'Remove it from one list'],
    ),
    ('duplicate image', duplicate, ['train.json, data_list[1]', '0.png', 'at index 0', 'Merge the two entries']),
    ('unknown key', unknown_key, ['train.json, data_list[1]', "unknown key ['postive']", 'Correct the spelling']),
    ('empty split', empty_split, ['train.json', 'the split is empty', 'Check what it was made from']),
    (
        'missing images',
        missing_images,
        ['train.json', '13 of 17 images are missing', 'gone/0.png', 'gone/9.png and 3 more', 'Fetch them'],
    ),
    (
        'class lists that differ',
        other_classes,
        [
            'train.json',
            'test.json',
            'has tree, only the latter has sofa',
            'Convert the splits of a data set in one run',
        ],
    ),
    (
        'embedding rows != classes',
        too_many_rows,
        ['a.npz has 4 classes, the data set has 3; only the former has tree', 'with: sarlp convert embeddings'],
    ),
    ('NaN in embeddings', nan_in_embeddings, ['a.npz', '1 of 3 rows hold NaN or infinity: 1', 'Make the file anew']),
    *(
        (f'known ratio {value}', known_ratio(value), [f'label_mask.known_ratio must be in (0, 1], got {value}'])
        for value in (0, -0.5, 1.5)
    ),
    ('image size', odd_size, ['60x60 px', 'a multiple of 8', 'Resize transforms of the config']),
    (
        'checkpoint of another model',
        another_model,
        [
            '/model: the checkpoint is of another model than the config describes',
            '1 missing: head.recovery.score.bias',
            '1 unexpected: head.more.weight',
            '1 of another shape: backbone.conv1.weight (3, 5) instead of',
            'use the config that it was trained with',
        ],
    ),
    ('no checkpoint', no_checkpoint, ['/bad: is no checkpoint that can be loaded safely']),
    ('no checkpoint to resume', no_checkpoint_to_resume, ['/bad: is no checkpoint that can be loaded safely']),
    ('weights without classes', weights_without_classes, ['/bad: names no classes', 'no checkpoint of sarlp train']),
    (
        'image that does not decode',
        undecodable_image,
        ['/2.png: the image cannot be read', 'train_dataloader.dataset.on_bad_image=skip'],
    ),
]


@pytest.mark.parametrize(('call', 'messages'), [item[1:] for item in LIST], ids=[item[0] for item in LIST])
def test_list(place, refused, call, messages):
    message = refused(*call(place), names='')
    for part in messages:
        assert part in message
    assert str(place.root) in message or 'known_ratio' in message or 'Resize' in message


def test_bad_images_are_counted_and_left_out(place, caplog, monkeypatch):
    monkeypatch.undo()  # this run trains
    (place.root / '2.png').write_bytes(b'')
    (place.root / '3.png').write_text('no image')
    # it is tested on the same images, and testing stops at a bad one
    other = place.root / 'test.json'
    dump_annotation(other, CLASSES, place.entries[:2])
    options = option('train_dataloader.dataset.on_bad_image', 'skip')
    place.run('train.py', place.config(), *options, 'val_dataloader.dataset.ann_file=test.json')
    log = next(place.work.glob('*/*.log')).read_text()
    for name in ('2.png', '3.png'):
        assert f'{place.root}/{name}: the image cannot be read' in log
    assert 'image 1 left out' in log and 'image 2 left out' in log
    assert (place.work / 'epoch_1.pth').is_file()


def test_classes_that_cannot_be_learnt_are_named_at_the_start(place):
    """Also where nothing at all is known of a class."""
    entries = [{**e, 'positive': [], 'negative': [0]} for e in place.entries]
    entries[0]['positive'], entries[1]['positive'] = [2], [2]
    dump_annotation(place.ann_file, CLASSES, entries)
    with pytest.raises(AssertionError, match='a training step was taken'):
        place.run('train.py', place.config(backbone=RESNET), *option('train_dataloader.dataset.label_mask', None))
    log = next(place.work.glob('*/*.log')).read_text()
    assert '2 classes have no known positive label and cannot be learnt: cat, dog' in log
    assert '2 classes have no known negative label and cannot be learnt: dog, sofa' in log
