"""What a checkpoint says it was trained on, against what is to be tested."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.multilabel import MultiLabelDataset
from sarlp.datasets.wrappers import ConcatDataset, RepeatDataset
from sarlp.engine.records.provenance import (
    EARLIER_MASKS,
    TRAINED_ON,
    contents_of,
    images_of_training,
    images_seen,
    mask_changes,
    origin_of,
    require_hidden,
    require_masks_of,
    revealed,
    seen_before,
    trained_images,
    training_of,
)
from sarlp.errors import UserError


def data_set(root, names, seed=0):
    """Images of random sizes in a folder, with their annotation file."""
    root.mkdir()
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), rng.integers(0, 256, (*rng.integers(5, 60, 2), 3), np.uint8))
    dump_annotation(
        root / 'a.json', ('cat', 'dog'), [{'img_path': name, 'positive': [0], 'negative': 'rest'} for name in names]
    )
    return MultiLabelDataset('a.json', data_root=str(root))


class TestImages:
    def test_those_of_both_are_found(self, tmp_path):
        names = [f'{number}/a.png' for number in range(7)]
        whole = data_set(tmp_path / 'one', names)
        trained = RepeatDataset(ConcatDataset([whole, data_set(tmp_path / 'more', ['more.png'])]), 3)
        meta = {TRAINED_ON: trained_images(trained)}
        assert len(meta[TRAINED_ON]) == 8  # once each
        (tmp_path / 'one').rename(tmp_path / 'moved')
        entries = [{'img_path': name, 'positive': [], 'negative': []} for name in names[5:1:-1]]
        dump_annotation(tmp_path / 'moved' / 'b.json', ('cat', 'dog'), entries)
        assert images_seen(meta, MultiLabelDataset('b.json', data_root=str(tmp_path / 'moved'))) == [0, 1, 2, 3]

    def test_others_of_the_same_names_are_not(self, tmp_path):
        names = [f'{number}.png' for number in range(5)]
        meta = {TRAINED_ON: trained_images(data_set(tmp_path / 'one', names))}
        assert images_seen(meta, data_set(tmp_path / 'two', names, seed=1)) == []

    @pytest.mark.parametrize('meta', [{}, {TRAINED_ON: 'all'}])
    def test_a_checkpoint_that_does_not_say(self, meta, tmp_path):
        assert images_seen(meta, data_set(tmp_path / 'one', ['a.png'])) == []


class TestContents:
    CLASSES = ('cat', 'dog', 'elk')

    def digest(self, root, classes=CLASSES, last='1.jpg', **changes):
        entries = [{'img_path': f'{name}.jpg', 'positive': ['dog'], 'negative': ['cat'], 'ignore': []} for name in 'ba']
        entries.append({'img_path': last, 'positive': ['elk'], 'negative': [], 'ignore': ['cat'], **changes})
        for entry in entries:
            entry |= {kind: sorted(map(classes.index, entry[kind])) for kind in ('positive', 'negative', 'ignore')}
            (root / entry['img_path']).touch()
        ordered = sorted(entries, key=lambda entry: entry['img_path'], reverse=classes != self.CLASSES)
        dump_annotation(root / 'a.json', classes, ordered)
        return contents_of(MultiLabelDataset('a.json', data_root=str(root)))

    def test_are_the_same_in_another_order(self, tmp_path):
        assert self.digest(tmp_path) == self.digest(tmp_path, ('elk', 'cat', 'dog'))

    @pytest.mark.parametrize(
        'changes', [dict(last='2.jpg'), dict(positive=['dog']), dict(negative=['dog']), dict(ignore=[])]
    )
    def test_others(self, tmp_path, changes):
        assert self.digest(tmp_path) != self.digest(tmp_path, **changes)

    def test_images_of_a_training(self):
        found = [images_of_training({TRAINED_ON: torch.tensor(keys)}) for keys in ([3, 5], [3, 5], [3, 7], [3, 5, 7])]
        assert found[0] == found[1] and len(set(found)) == 3
        assert found[0].startswith('2 images, ') and images_of_training({}) is None


def config(*masks, **others):
    parts = [dict(type='MultiLabelDataset', **({} if mask is None else dict(label_mask=mask))) for mask in masks]
    dataset = parts[0] if len(parts) == 1 else dict(type='ConcatDataset', datasets=parts)
    return Config(dict(train_dataloader=dict(dataset=dataset), **others))


def mask(**options):
    return {'type': 'RandomKnownLabels', 'known_ratio': 0.1, 'seed': 0, **options}


class TestMasks:
    @pytest.mark.parametrize(
        ('trained', 'now', 'changes'),
        [
            ([mask()], [mask()], []),
            ([mask(known_ratio=0.9)], [mask()], ['known_ratio 0.9 -> 0.1']),
            ([mask(), mask(seed=3)], [mask(), mask(seed=4)], ['seed 3 -> 4']),
            ([mask()], [mask(type='HCPKnownLabels')], ["type 'RandomKnownLabels' -> 'HCPKnownLabels'"]),
            ([mask()], [dict(type='RandomKnownLabels', known_ratio=0.1)], []),  # the seed that is the default
            ([mask(file='/here/a.npz')], [mask(file='elsewhere\\a.npz')], []),  # moved
            ([mask(file='/here/a.npz')], [mask(file='/here/b.npz')], ["file '/here/a.npz' -> '/here/b.npz'"]),
            ([None], [mask()], ['none -> one']),
            ([mask(), mask()], [mask()], ['of 2 data sets -> of 1']),
            ([mask()], [None], []),  # hides nothing
        ],
    )
    def test_changes(self, trained, now, changes):
        meta, cfg = {'cfg': config(*trained).pretty_text}, config(*now)
        assert mask_changes(meta, cfg) == changes
        if changes:
            with pytest.raises(UserError, match=r'x\.pth: was trained with another label mask than the config has'):
                require_masks_of(meta, cfg, 'x.pth')
        else:
            require_masks_of(meta, cfg, 'x.pth')

    @pytest.mark.parametrize('meta', [{}, {'cfg': 3}, {'cfg': 'no config ('}, {'cfg': 'model = dict(type="a")'}])
    def test_a_checkpoint_that_does_not_say(self, meta):
        assert mask_changes(meta, config(mask())) == []


class TestEarlierMasks:
    @pytest.mark.parametrize(
        ('before', 'now', 'change'),
        [
            ([mask(known_ratio=0.9)], [mask()], 'known_ratio 0.9 -> 0.1'),
            ([mask(known_ratio=0.05)], [mask()], ''),  # is known now as well
            ([mask(known_ratio=0.05, seed=3)], [mask()], 'known_ratio 0.05 -> 0.1; seed 3 -> 0'),
            ([mask(known_ratio=0.05, type='Own')], [mask(type='Own')], 'known_ratio 0.05 -> 0.1'),  # who knows
            ([], [mask()], 'none -> one'),
            ([mask()], [mask()], ''),
            ([mask(known_ratio=0.9)], [None], ''),  # hides nothing
        ],
    )
    def test_what_they_showed(self, before, now, change):
        cfg = config(*now)
        meta = {'cfg': cfg.pretty_text, EARLIER_MASKS: [before]}
        assert revealed(meta, cfg) == change
        if change:
            with pytest.raises(UserError, match=r'x\.pth: its weights were trained under another label mask before \('):
                require_hidden(meta, cfg, 'x.pth')
        else:
            require_hidden(meta, cfg, 'x.pth')

    @pytest.mark.parametrize('found', [3, 'all', [3], [[3]], None])
    def test_what_is_none(self, found):
        assert revealed({EARLIER_MASKS: found}, config(mask())) == ''

    def test_one_training_after_another(self, tmp_path):
        names = [f'{number}.png' for number in range(7)]
        ours, others = data_set(tmp_path / 'ours', names), data_set(tmp_path / 'others', names[:5], seed=1)
        meta: dict = {}
        kept = []
        for dataset, ratio in ((others, 0.7), (ours, 0.5), (ours, 0.3), (ours, 0.3), (ours, 0.1)):
            meta = {'cfg': config(mask(known_ratio=ratio)).pretty_text} | seen_before(dataset, meta)
            kept.append([one[0]['known_ratio'] for one in meta[EARLIER_MASKS]])
        assert kept == [[], [], [0.5], [0.5, 0.3], [0.5, 0.3]]  # of 0.7 no image of ours was seen
        assert len(meta[TRAINED_ON]) == 7 + 5


class TestOrigin:
    def test_a_run_and_where_it_was(self):
        meta = {'run': 'r', 'epoch': 3, 'iter': 30}
        assert origin_of(meta).model == origin_of(dict(meta)).model
        others = [meta | {'epoch': 4}, meta | {'run': 's'}, meta | {'refitted_from': 'epoch_3.pth'}]
        assert len({origin_of(one).model for one in (meta, *others)}) == 4
        assert origin_of({'epoch': 3}) == ('', '')

    def test_kind(self):
        def kind(head, file, ratio):
            model = dict(head=dict(type=head, embedding=file))
            return origin_of({'cfg': config(mask(known_ratio=ratio), model=model).pretty_text}).kind

        assert kind('A', '/here/e.npz', 0.1) == kind('A', 'there/e.npz', 0.9) != kind('B', '/here/e.npz', 0.1)


def test_how_a_model_was_trained_is_the_same_for_other_seeds_and_places():
    def meta(**changes):
        cfg = config(dict(type='RandomKnownLabels', known_ratio=0.1, seed=0), train_cfg=dict(max_epochs=13))
        cfg.merge_from_dict({'train_dataloader.dataset.data_root': '/home/a/digits', 'lr': 0.01, **changes})
        return {'cfg': cfg.pretty_text}

    first = training_of(meta())
    assert first['epochs'] == 13
    assert training_of(meta(load_from='runs/epoch_5.pth')) != first
    same = {
        'randomness': dict(seed=3),
        'train_dataloader.dataset.label_mask.seed': 3,
        'train_dataloader.dataset.data_root': 'D:\\b\\digits',
        'train_dataloader.num_workers': 5,
        'work_dir': 'elsewhere',
    }
    assert training_of(meta(**same)) == first
    for other in ({'lr': 0.02}, {'train_dataloader.dataset.label_mask.known_ratio': 0.2}):
        assert training_of(meta(**other))['digest'] != first['digest']
    assert training_of({}) is None
