# On one's own data and kept tokens, where ResNet-50 is on the machine: few_r50_frozen_custom
_base_ = ['../_base_/models/baseline_r101.py', '../_base_/recipes/frozen_custom.py']

model = dict(
    backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    frozen_backbone=True,
    standardize_tokens=True,
)
