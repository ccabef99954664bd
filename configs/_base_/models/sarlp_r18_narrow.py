_base_ = './sarlp_r101.py'

model = dict(
    size_divisor=8,
    backbone=dict(
        depth=18, stem_channels=24, base_channels=24, strides=(1, 2, 1, 1), zero_init_residual=False, init_cfg=None),
    head=dict(
        in_channels=192,
        label_embedding=dict(dim=96),
        encoder=dict(feedforward_dim=384),
        sgfe=dict(attention_dim=96)))
