# class-aware selective loss (Ben-Baruch et al., CVPR 2022), with the numbers that its authors have for random labels of
# COCO. Their code's defaults are 2 and 0.05, which leaves every class alone that is in more than 5 % of the images
model = dict(
    method=dict(
        type='SelectiveNegatives',
        loss=dict(_delete_=True, type='AsymmetricLoss', gamma_neg=1, gamma_pos=0, clip=0, eps=1e-8, scale=1),
        unknown_loss=dict(type='AsymmetricLoss', gamma_neg=4, clip=0, eps=1e-8, scale=1),
        prior_threshold=0.5,
    )
)
