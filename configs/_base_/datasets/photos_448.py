# Photographs of 448 px: pipelines of the paper's recipe, data loaders and metrics. A data set says where it lies
image_size = 448

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(image_size, image_size), interpolation='antialias'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCutout', ratio=0.5),
    dict(
        type='mmpretrain.RandAugment',
        num_policies=2,
        magnitude_level=10,
        magnitude_std='inf',  # a strength drawn uniformly from each range
        policies=[
            dict(type='sarlp.Invert', prob=0.5),
            dict(type='sarlp.RandomCutout', magnitude_range=(0, 0.2), prob=0.5),
            dict(type='mmpretrain.Sharpness', magnitude_range=(0, 0.9), prob=0.5),
            dict(type='sarlp.AutoContrast', prob=0.5),
            dict(type='sarlp.Posterize', magnitude_range=(8, 4), prob=0.5),
            dict(type='mmpretrain.Shear', magnitude_range=(0, 0.3), direction='horizontal', prob=0.5),
            dict(type='mmpretrain.Shear', magnitude_range=(0, 0.3), direction='vertical', prob=0.5),
            dict(type='mmpretrain.Translate', magnitude_range=(0, 0.453), direction='horizontal', prob=0.5),
            dict(type='mmpretrain.Translate', magnitude_range=(0, 0.453), direction='vertical', prob=0.5),
            dict(type='mmpretrain.Rotate', magnitude_range=(0, 30), prob=0.5),
            dict(type='sarlp.Equalize', prob=0.5),
            dict(type='sarlp.Contrast', magnitude_range=(0, 0.9), prob=0.5),
            dict(type='sarlp.ColorTransform', magnitude_range=(0, 0.9), prob=0.5),
            dict(type='sarlp.Solarize', magnitude_range=(256, 0), prob=0.5),
            dict(type='sarlp.Brightness', magnitude_range=(0, 0.9), prob=0.5),
        ],
    ),
    dict(type='PackMultiLabel'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(image_size, image_size), interpolation='antialias'),
    dict(type='PackMultiLabel'),
]

# without workers or without a GPU, what is of no use there is left out (sarlp/engine/loaders.py)
loading = dict(
    num_workers=8,
    persistent_workers=True,
    prefetch_factor=2,  # batches a worker is ahead
    pin_memory=True,
    collate_fn=dict(type='default_collate'),  # images of one size: one uint8 tensor a batch, stacked by the worker
)
train_dataloader = dict(
    **loading,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(
        type='MultiLabelDataset',
        label_mask=dict(type='RandomKnownLabels', known_ratio=0.1, seed=0),
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MultiLabelDataset', pipeline=test_pipeline, test_mode=True),
)
val_dataloader = test_dataloader
del loading  # to change it here only would change nothing

test_evaluator = dict(type='MultiLabelMetric', threshold=0.5, top_k=3)
val_evaluator = test_evaluator
# measured by sarlp test on the training images: how well are the labels recovered that the mask hides?
recovery_evaluator = dict(type='LabelRecoveryMetric', threshold=0.5)
