# The built-in scenes of handwritten digits (sarlp/datasets/digits.py)
data_root = 'data/digits'
prepare_data = 'sarlp convert digits --out data/digits'

train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='mmpretrain.RandAugment',
        num_policies=2,
        magnitude_level=10,
        magnitude_std='inf',
        policies=[  # what leaves a digit the digit it is: no flip, no large rotation, no change of hue
            dict(type='sarlp.RandomCutout', magnitude_range=(0, 0.2), prob=0.5),
            dict(type='mmpretrain.Shear', magnitude_range=(0, 0.2), direction='horizontal', prob=0.5),
            dict(type='mmpretrain.Translate', magnitude_range=(0, 0.1), direction='horizontal', prob=0.5),
            dict(type='mmpretrain.Translate', magnitude_range=(0, 0.1), direction='vertical', prob=0.5),
            dict(type='mmpretrain.Rotate', magnitude_range=(0, 15), prob=0.5),
            dict(type='sarlp.Contrast', magnitude_range=(0, 0.5), prob=0.5),
            dict(type='sarlp.Brightness', magnitude_range=(0, 0.3), prob=0.5),
        ],
    ),
    dict(type='PackMultiLabel'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='PackMultiLabel')]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # on two cores a worker takes more from the training than it gives
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(
        type='MultiLabelDataset',
        data_root=data_root,
        ann_file='labels/trainval.json',
        label_mask=dict(type='RandomKnownLabels', known_ratio=0.1, seed=0),
        pipeline=train_pipeline,
    ),
)

test_dataloader = dict(
    batch_size=125,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MultiLabelDataset',
        data_root=data_root,
        ann_file='labels/test.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_evaluator = dict(type='MultiLabelMetric', threshold=0.5, top_k=3)

val_dataloader = test_dataloader
val_evaluator = test_evaluator

# measured by sarlp test on the training images: how well are the labels recovered that the mask hides?
recovery_evaluator = dict(type='LabelRecoveryMetric', threshold=0.5)
