# class-aware selective loss (Ben-Baruch et al., CVPR 2022)
model = dict(
    method=dict(
        type='SelectiveNegatives',
        loss=dict(_delete_=True, type='AsymmetricLoss', gamma_neg=1, gamma_pos=0, clip=0, eps=1e-8, scale=1),
        unknown_loss=dict(type='AsymmetricLoss', gamma_neg=2, clip=0, eps=1e-8, scale=1),
    )
)
