_base_ = ['../_base_/models/sgre_r101.py', '../_base_/recipes/nuswide.py']
model = dict(
    head=dict(label_embedding=dict(file='data/NUS-WIDE/labels/bert.npz')),
    method=dict(class_feature_loss=dict(loss_weight=0.05)),
)
