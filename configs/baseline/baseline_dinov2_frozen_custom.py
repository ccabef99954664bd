# On one's own data and the kept tokens of DINOv2 (ViT-S/14), of the Hugging Face hub: few_dinov2_frozen_custom.
# Another model of transformers goes the same way, or its folder: --cfg-options model.backbone.name_or_folder=...
_base_ = ['../_base_/models/baseline_r101.py', '../_base_/recipes/frozen_custom.py']

model = dict(
    data_preprocessor=dict(mean='backbone', std='backbone'),
    backbone=dict(_delete_=True, type='TransformersBackbone', name_or_folder='facebook/dinov2-small'),
    head=dict(in_channels=None),
    frozen_backbone=True,
    standardize_tokens=True,
)
