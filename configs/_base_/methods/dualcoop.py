over = 'sarlp_clip_lora'  # dualcoop_rn101_voc_p0.1

# DualCoOp (NeurIPS 2022): CLIP is frozen, a prompt for and a prompt against each class are learnt. The loss is a mean
# over the known labels, so that one weight goes with every share of them; the paper's is a sum with a weight for each:
# model.method.loss.reduction=sum model.method.loss.loss_weight=0.03 (COCO at p = 0.5, larger where less is known).
# Under SGD that weight is the length of the step. Of 32 images 0.03 is 0.48 a class, and the weight below that of VOC's
# 20; give 38.4 to the 80 of COCO. The code trains VOC with half of the rate, 0.001
model = dict(
    backbone=dict(lora=None, image_token=False, frozen=True),
    head=dict(
        _delete_=True,
        type='DualCoOpHead',
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
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4))
train_cfg = dict(max_epochs=50)
