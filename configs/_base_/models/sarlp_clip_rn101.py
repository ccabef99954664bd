# SARLP on CLIP's RN101, all of it trained: width 512 throughout, g the mean of the encoded tokens
_base_ = './sarlp_clip_lora_rn101.py'

model = dict(
    backbone=dict(image_token=False, lora=None),
    head=dict(image_token=False, wide_dim=None, sgfe=dict(attention_dim=256)),
)
