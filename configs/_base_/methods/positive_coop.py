over = 'sarlp_clip_lora'  # positive_coop_rn101_voc_p0.1

# PositiveCoOp (WACV 2025): CLIP is frozen, a prompt for each class and a vector against it are learnt, the prompt a
# hundred times more slowly. The rate of the vector is chosen so that the prompt has DualCoOp's; the paper's code is run
# with rates from 0.001 to 0.5. The loss is DualCoOp's, whose file says what its paper has
model = dict(
    backbone=dict(lora=None, image_token=False, frozen=True),
    head=dict(
        _delete_=True,
        type='PositiveCoOpHead',
        num_classes=None,
        in_channels=512,
        classes=None,  # their names, taken from the data set
        text=dict(weights='checkpoints/RN101.pt'),
    ),
    method=dict(
        _delete_=True,
        type='KnownLabels',
        loss=dict(
            type='AsymmetricLoss', gamma_neg=2, gamma_pos=1, clip=0.05, scale=1, reduction='mean_known', loss_weight=9.6
        ),
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.2, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'head.prompts': dict(lr_mult=0.01)}),
)
train_cfg = dict(max_epochs=50)
