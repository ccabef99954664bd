_base_ = './sarlp_r101.py'

model = dict(
    size_divisor=8,
    backbone=dict(
        depth=18, stem_channels=16, base_channels=8, strides=(1, 2, 1, 1), zero_init_residual=False, init_cfg=None
    ),
    head=dict(
        in_channels=64,
        label_embedding=dict(dim=64),
        encoder=dict(num_heads=4, feedforward_dim=128, dropout=0, pre_norm=True),
        sgfe=dict(attention_dim=64, dropout=0.1),
    ),
)
