# Class-distribution-aware pseudo-labels (CAP, NeurIPS 2023)
model = dict(
    method=dict(
        _delete_=True,
        type='CAP',
        loss=dict(
            type='AsymmetricLoss', gamma_neg=4, gamma_pos=0, clip=0.05, eps=1e-8, scale=1, reduction='mean_known'
        ),
    )
)
default_hooks = dict(ema=dict(warm_start=True))  # a teacher should not be mostly initial weights
