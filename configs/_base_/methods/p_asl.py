# partial asymmetric loss (Ben-Baruch et al., "Multi-label classification with partial annotations using class-aware
# selective loss", CVPR 2022); its weights alpha are the loss_weight of each
model = dict(
    method=dict(
        type='KnownAndUnknown',
        loss=dict(_delete_=True, type='AsymmetricLoss', gamma_neg=1, gamma_pos=0, clip=0, eps=1e-8, scale=1),
        unknown_loss=dict(type='AsymmetricLoss', gamma_neg=2, clip=0, eps=1e-8, scale=1),
    )
)
