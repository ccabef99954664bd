# a narrow ResNet-18 of stride 8 from scratch, for small images
_base_ = './baseline_r101.py'

model = dict(
    size_divisor=8,
    backbone=dict(
        depth=18, stem_channels=16, base_channels=8, strides=(1, 2, 1, 1), zero_init_residual=False, init_cfg=None
    ),
    head=dict(in_channels=64),
)
