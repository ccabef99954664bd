# SARLP on a folder of photographs and a spreadsheet in which some labels are known (docs/your_data.md)
#
# Two lines make it yours, in a file of your own or as --cfg-options data_root=DIR image_size=224:
#
#     _base_ = 'configs/sarlp/sarlp_r50_custom.py'
#     data_root = 'data/mine'
#
# Classes and their number come from the annotation files. Label embeddings are those of <data_root>/labels/bert.npz if
# it is there, are made from the class names if a BERT is on this machine, and are learnt if not; the run says which.
# What trains how long, and why, is in the second base. Where few labels are known, few_lite02_frozen_custom is the one
# to begin with (docs/methods.md), and it needs no label embeddings.
_base_ = ['../_base_/models/sarlp_r101.py', '../_base_/recipes/custom.py']

model = dict(
    backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    head=dict(label_embedding=dict(file='auto')),
)
text_encoder = 'bert-base-uncased'  # for file='auto': a folder, or a name that was fetched before
