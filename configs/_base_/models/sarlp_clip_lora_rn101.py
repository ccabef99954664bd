# SARLP on CLIP's RN101: adapters, positional embedding and head are trained, the rest of the encoder is frozen
_base_ = './sarlp_r101.py'

model = dict(
    backbone=dict(
        _delete_=True, type='CLIPResNet', weights='checkpoints/RN101.pt', lora=dict(r=8, alpha=32, dropout=0.01)
    ),
    head=dict(
        in_channels=512,
        normalize_tokens=True,
        image_token=True,
        wide_dim=2048,
    ),
    method=dict(recovery_loss=dict(loss_weight=0.1)),
)
# above 224 px the query and key projections of the attention pool are not used
find_unused_parameters = True
