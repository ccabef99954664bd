# SARLP on a folder of photographs and a spreadsheet in which some labels are known (docs/your_data.md)
#
# Two lines make it yours, in a file of your own or as --cfg-options data_root=DIR image_size=224:
#
#     _base_ = 'configs/sarlp/sarlp_r50_custom.py'
#     data_root = 'data/mine'
#
# Classes and their number come from the annotation files. Label embeddings are those of <data_root>/labels/bert.npz if
# it is there, are made from the class names if a BERT is on this machine, and are learnt if not; the run says which.
#
# Hundreds to some ten thousand images are meant, fewer than VOC2007 has. So, against the recipe of VOC2007:
# - ResNet-50, pretrained on ImageNet: half the time of ResNet-101.
# - a batch of 32 gives twice as many steps an epoch; the learning rate goes down by the root of that, as fits AdamW.
# - 30 epochs: the cosine has ended before few images are learnt by heart, and the best epoch is kept anyway.
# - the EMA forgets within 100 steps, not 600: 1,000 images, of which 800 train, make 750 steps in all, after which
#   a quarter of what is evaluated would still be the initial weights.
# These follow from the arithmetic, they were not searched for. Classes are not weighted: the losses have no weights.
_base_ = [
    '../_base_/models/sarlp_r101.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/adamw_onecycle_60e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    head=dict(label_embedding=dict(file='auto')),
)
text_encoder = 'bert-base-uncased'  # for file='auto': a folder, or a name that was fetched before
train_cfg = dict(max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=6e-5))
default_hooks = dict(ema=dict(momentum=1 - 0.99))
