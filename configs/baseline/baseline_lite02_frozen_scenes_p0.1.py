_base_ = ['../_base_/models/baseline_lite02.py', '../_base_/recipes/lite0_frozen_scenes.py']
model = dict(frozen_backbone=True)
