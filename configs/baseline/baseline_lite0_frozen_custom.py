# As baseline_lite02_frozen_custom, with a smaller backbone
_base_ = ['../_base_/models/baseline_lite0.py', '../_base_/recipes/frozen_custom.py']
image_size = 320
model = dict(frozen_backbone=True, standardize_tokens=True)
