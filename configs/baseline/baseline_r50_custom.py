# The baseline on one's own data, over which the methods go: few_r50_custom, ... (sarlp list --methods)
_base_ = ['../_base_/models/baseline_r101.py', '../_base_/recipes/custom.py']

model = dict(backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
