# NUS-WIDE, 81 concepts, the split of its own lists (docs/data.md)
_base_ = './photos_224.py'

data_root = 'data/NUS-WIDE'
prepare_data = 'python tools/dataset_converters/nuswide.py --data-dir data/NUS-WIDE'

train_dataloader = dict(
    batch_size=128,  # over all processes
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MultiLabelDataset',
        data_root=data_root,
        ann_file='labels/train.json',
        label_mask=dict(type='RandomKnownLabels', known_ratio=0.1, seed=0),
        pipeline={{_base_.train_pipeline}},
    ),
)

test_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MultiLabelDataset',
        data_root=data_root,
        ann_file='labels/test.json',
        pipeline={{_base_.test_pipeline}},
        test_mode=True,
    ),
)
test_evaluator = dict(type='MultiLabelMetric', threshold=0.5, top_k=3)

val_dataloader = test_dataloader
val_evaluator = test_evaluator

# measured by tools/test.py on the training images: how well are the labels recovered that the mask hides?
recovery_evaluator = dict(type='LabelRecoveryMetric', threshold=0.5)
