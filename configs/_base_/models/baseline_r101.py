model = dict(
    type='MultiLabelClassifier',
    data_preprocessor=dict(
        type='sarlp.DataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=101,
        out_indices=(3,),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    head=dict(
        type='BaselineHead',
        num_classes=None,  # taken from the data set
        in_channels=2048,
    ),
    method=dict(
        type='KnownLabels',
        loss=dict(type='AsymmetricLoss', gamma_neg=2, gamma_pos=0, clip=0, reduction='sum'),
    ),
)
