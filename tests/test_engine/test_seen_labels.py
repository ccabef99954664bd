"""The labels that a training sees are the same in each of its processes and after each resume, or that is said."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from sarlp.datasets.label_masks import LabelMask
from sarlp.engine import read_checkpoint
from sarlp.engine.beginnings import beginnings_of_parts
from sarlp.engine.records import provenance
from sarlp.engine.records.provenance import LABELS, TRAINED_ON, require_hidden, require_same_labels, seen_labels
from sarlp.errors import UserError
from sarlp.labels import class_keys, uniform_numbers
from sarlp.registry import LABEL_MASKS

ANEW = {'model.backbone': {'_delete_': True}}  # where a config has something that is no dict


@LABEL_MASKS.register_module()
class Salted(LabelMask):
    """As Python's ``hash``: the same within a process, and another in the next."""

    salt = 0

    def __init__(self, known_ratio, seed):
        self.share = known_ratio

    def known(self, image_id, labels):
        return uniform_numbers(Salted.salt, image_id, class_keys(self.classes)) < self.share


@pytest.mark.parametrize('salt', [0, 1])
def test_a_resumed_run_says_that_its_labels_are_others(make_runner, monkeypatch, tmp_path, salt):
    options = {'train_dataloader.dataset.label_mask.type': 'Salted', 'train_cfg.max_epochs': 1}
    first = make_runner('baseline', **options)
    first.train()
    digest = read_checkpoint(tmp_path / 'work' / 'epoch_1.pth')['meta'][LABELS]
    assert digest == seen_labels(first.train_dataloader.dataset)
    monkeypatch.setattr(Salted, 'salt', salt)
    again = make_runner('baseline', **options, resume=True)
    said = []
    again.logger.warning = said.append
    again.train()
    found = [line for line in said if line.startswith('other than before, from now on: the labels that the training')]
    assert len(found) == salt
    assert (seen_labels(again.train_dataloader.dataset) == digest) == (not salt)


@pytest.mark.parametrize('how', ['resume', 'load_from', 'model', 'model.backbone', 'model.head'])
def test_labels_that_were_seen_before_are_not_hidden(make_runner, tmp_path, how):
    """Neither by the mask of a resumed run, nor by that of one that begins with the weights of another, or a part."""
    ratio = 'train_dataloader.dataset.label_mask.known_ratio'
    first = tmp_path / 'work' / 'epoch_1.pth'
    make_runner('baseline', **{ratio: 0.7, 'train_cfg.max_epochs': 1}).train()
    go_on: dict = {'resume': True} if how == 'resume' else {'load_from': str(first), 'work_dir': str(tmp_path / 'b')}
    if how.startswith('model'):
        part = {} if how == 'model' else {'prefix': how.removeprefix('model.') + '.'}
        begin = dict(type='Pretrained', checkpoint=str(first), **part, **ANEW.get(how, {}))
        go_on = {f'{how}.init_cfg': begin, 'work_dir': str(tmp_path / 'b')}
    again = make_runner('baseline', **{ratio: 0.3, 'train_cfg.max_epochs': 2}, **go_on)
    said: list[str] = []
    again.logger.warning = said.append
    again.train()
    assert sum('that the label mask hides now (known_ratio 0.7 -> 0.3)' in line for line in said) == 1
    checkpoint = str(Path(again.work_dir) / 'epoch_2.pth')
    cfg = again.cfg
    with pytest.raises(
        UserError, match=r'its weights were trained under another label mask before \(known_ratio 0\.7 -> 0\.3\)'
    ):
        require_hidden(read_checkpoint(checkpoint)['meta'], cfg, checkpoint)
    require_hidden(read_checkpoint(first)['meta'], make_runner('baseline', False, **{ratio: 0.7}).cfg, first)


def test_images_that_a_part_was_trained_on_are_seen(make_runner, tmp_path):
    """Whatever else the training sees; a part of weights that do not say begins with nothing that is known."""
    first, other = tmp_path / 'work' / 'epoch_1.pth', tmp_path / 'other.pth'
    make_runner('baseline', **{'train_cfg.max_epochs': 1}).train()
    content = torch.load(first, weights_only=False)
    strangers = torch.tensor([3, 5])
    content['meta'][TRAINED_ON] = torch.cat([content['meta'][TRAINED_ON], strangers])
    torch.save(content, other)
    torch.save({'fc.weight': torch.ones(3)}, tmp_path / 'foreign.pth')
    named = [dict(type='Pretrained', checkpoint=str(file), prefix='backbone.') for file in (other, first)]
    again = make_runner(
        'baseline',
        **{'model.backbone.init_cfg': named, 'train_cfg.max_epochs': 1, 'work_dir': str(tmp_path / 'b')},
    )
    again.train()
    seen = read_checkpoint(Path(again.work_dir) / 'epoch_1.pth')['meta'][TRAINED_ON]
    assert set(seen.tolist()) == set(content['meta'][TRAINED_ON].tolist())
    begin = dict(_delete_=True, type='Pretrained', checkpoint=str(tmp_path / 'foreign.pth'))
    assert beginnings_of_parts(make_runner('baseline', **{'model.backbone.init_cfg': begin, 'fresh': True}).cfg) == {}


@pytest.mark.parametrize('part, classes, refused', [('head', 10, True), ('head', 7, False), ('backbone', 10, False)])
def test_a_head_of_other_classes(make_runner, tmp_path, part, classes, refused):
    """As many rows as there are classes are taken over, whatever their names."""
    first = tmp_path / 'work' / 'epoch_1.pth'
    make_runner('baseline', **{'train_cfg.max_epochs': 1}).train()
    content = torch.load(first, weights_only=False)
    names = content['meta']['dataset_meta']['classes']
    content['meta']['dataset_meta']['classes'] = [*names[::-1]][:classes]
    torch.save(content, tmp_path / 'other.pth')
    begin = dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'), prefix=f'{part}.')
    begin |= ANEW.get(f'model.{part}', {})
    options = {f'model.{part}.init_cfg': begin, 'train_cfg.max_epochs': 1, 'work_dir': str(tmp_path / 'b')}
    again = make_runner('baseline', **options)
    with pytest.raises(UserError, match=r'other\.pth') if refused else nullcontext():
        again.train()


def test_processes_that_see_other_labels(monkeypatch):
    for others, ends in ((['a', 'a', 'a'], False), (['a', 'a', 'b'], True)):
        monkeypatch.setattr(provenance, 'all_gather_object', lambda labels, others=others: others)
        if not ends:
            require_same_labels('a')
            continue
        with pytest.raises(UserError, match='the processes of this run see different labels of the training images'):
            require_same_labels('a')
