# On one's own data and kept tokens: few_lite0_frozen_custom is what sarlp complete trains on a machine without a GPU
_base_ = ['../_base_/models/baseline_lite0.py', '../_base_/recipes/frozen_custom.py']
model = dict(frozen_backbone=True)
