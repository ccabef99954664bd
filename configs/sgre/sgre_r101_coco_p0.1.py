_base_ = ['../_base_/models/sgre_r101.py', '../_base_/recipes/coco2014.py']
model = dict(
    head=dict(label_embedding=dict(file='data/COCO2014/labels/bert.npz')),
    method=dict(class_feature_loss=dict(loss_weight=0.4)),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=9e-5))
