# On one's own data and kept tokens: few_lite02_frozen_custom is what sarlp complete trains if it can be had
_base_ = ['../_base_/models/baseline_lite02.py', '../_base_/recipes/frozen_custom.py']
image_size = 320  # of small things a frozen backbone sees more in larger images (docs/methods.md)
model = dict(frozen_backbone=True, standardize_tokens=True)
