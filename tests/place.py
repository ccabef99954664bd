"""A small place to run tools in: images, their annotation file, a config, a checkpoint of its model."""

import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from sarlp.datasets.annotation import dump_annotation
from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.paths import shipped
from sarlp.registry import MODELS

CLASSES = ('cat', 'dog', 'sofa')
RESNET = dict(stem_channels=2, base_channels=2)
CLIP = dict(_delete_=True, type='CLIPResNet', layers=(1, 1, 1, 1), width=4, heads=4, output_dim=16, image_size=32)
CONFIG = """
_base_ = {base!r}
_loader = dict(num_workers=0, persistent_workers=False)
_data = dict(data_root={root!r}, ann_file='train.json')
train_dataloader = dict(batch_size=2, dataset=dict(**_data, label_mask={mask!r}), **_loader)
val_dataloader = dict(batch_size=2, dataset=_data, **_loader)
test_dataloader = val_dataloader
model = dict(
    backbone={backbone!r},
    head=dict(
        in_channels=16,
        label_embedding=dict(dim=8),
        encoder=dict(num_heads=2, feedforward_dim=8),
        sgfe=dict(attention_dim=8),
    ),
)
train_cfg = dict(max_epochs=1)
work_dir = {work!r}
"""


class Place:
    """Everything is below ``root``. ``marker`` is what code of a file would make, ``out`` what tools are to write."""

    def __init__(self, root):
        self.root, self.work, self.out = root, root / 'work', root / 'out'
        self.marker, self.bad, self.ann_file = root / 'marker', root / 'bad', root / 'train.json'
        self.entries = [{'img_path': f'{i}.png', 'positive': [i % 3], 'negative': 'rest'} for i in range(4)]
        for number, entry in enumerate(self.entries):
            image = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / entry['img_path']), image)
        dump_annotation(self.ann_file, CLASSES, self.entries)

    def config(self, mask=None, backbone=RESNET):
        base = shipped('configs') / 'sarlp' / 'sarlp_r18_digits_p0.1.py'
        values = dict(root=str(self.root), work=str(self.work), backbone=backbone)
        mask = dict(_delete_=True, **mask) if mask else {}
        path = self.root / 'config.py'
        path.write_text(CONFIG.format(base=str(base), mask=mask, **values))
        return path

    def checkpoint(self):
        """Of the model of the config, as it is built."""
        cfg = load_config(self.config())
        init_default_scope('sarlp')
        set_num_classes(cfg, len(CLASSES), 'here')
        meta = {'dataset_meta': {'classes': CLASSES}}
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict(), 'meta': meta}, self.root / 'model')
        return self.root / 'model'

    def released(self):
        """As far as the converter of released files looks before it reads others."""
        torch.save({'module.fc2.0.bias': torch.ones(3)}, self.root / 'released')
        return self.root / 'released'

    def run(self, tool, *arguments):
        """A tool inside this process."""
        path = shipped('tools') / tool
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
            runpy.run_path(str(path), run_name='__main__')

    def refused(self, capsys, tool, *arguments):
        """A tool that must end with one error and leave nothing behind; returns the message."""
        with pytest.raises(SystemExit) as exit_:
            self.run(tool, *arguments)
        message = capsys.readouterr().err.rpartition('error: ')[2]
        assert exit_.value.code == 1, message
        assert 'Traceback' not in message
        assert not self.marker.exists()
        assert not [*self.root.rglob('*.pth'), *self.root.rglob('*.tmp'), *self.root.rglob('out*')]
        return message


def option(key, value):
    return '--cfg-options', f'{key}={value}'
