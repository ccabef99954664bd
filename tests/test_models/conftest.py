import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from sarlp.engine import load_config


@pytest.fixture
def tiny_config(tmp_path):
    """A config for four training and four test images: ``tiny_config(classes, backbone=..., head=...)``.

    It has the runtime and the schedule of the recipes. The images are made on the first call.
    """

    def make_data(classes):
        random = np.random.default_rng(0)
        (tmp_path / 'data').mkdir()
        for split in ('trainval', 'test'):
            items = []
            for index in range(4):
                name = f'{split}_{index}.png'
                cv2.imwrite(str(tmp_path / 'data' / name), random.integers(0, 255, (64, 64, 3), np.uint8))
                items.append({'img_path': name, 'positive': [index % len(classes)], 'negative': 'rest', 'ignore': []})
            content = {'metainfo': {'classes': list(classes)}, 'data_list': items}
            (tmp_path / 'data' / f'{split}.json').write_text(json.dumps(content))

    def loader(split, shuffle, **options):
        dataset = dict(
            type='MultiLabelDataset',
            data_root=str(tmp_path / 'data'),
            ann_file=f'{split}.json',
            pipeline=[dict(type='LoadImage'), dict(type='PackMultiLabel')],
            **options,
        )
        return dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=shuffle), dataset=dataset)

    def make(classes=('cat', 'cow', 'dog'), backbone=None, head=None) -> Config:
        if not (tmp_path / 'data').exists():
            make_data(classes)
        runtime, schedule = (
            load_config('_base_/default_runtime.py'),
            load_config('_base_/schedules/adamw_onecycle_60e.py'),
        )
        cfg = Config({**runtime.to_dict(), **schedule.to_dict()})
        evaluator = dict(type='MultiLabelMetric', threshold=0.5, top_k=3)
        cfg.merge_from_dict(
            dict(
                work_dir=str(tmp_path / 'work'),
                train_cfg=dict(max_epochs=2),
                train_dataloader=loader('trainval', True),
                val_dataloader=loader('test', False, test_mode=True),
                test_dataloader=loader('test', False, test_mode=True),
                val_evaluator=evaluator,
                test_evaluator=evaluator,
                default_hooks=dict(checkpoint=dict(max_keep_ckpts=2)),
                model=dict(
                    type='MultiLabelClassifier',
                    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
                    backbone=backbone,
                    head=dict(num_classes=None, in_channels=16, **head),
                ),
            )
        )
        return cfg

    return make
