# The label embeddings are of all-MiniLM-L6-v2, which comes from PyPI too; without it they are learnt
_base_ = './sarlp_r101.py'

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
    head=dict(
        in_channels=320,
        label_embedding=dict(dim=384, file='auto'),
        encoder=dict(feedforward_dim=640, pre_norm=True),
        sgfe=dict(attention_dim=320),
    ),
)
text_encoder = 'pip://all-minilm-l6-v2'
text_pooling = 'mean'
