_base_ = ['../_base_/models/sgre_r101.py', '../_base_/recipes/voc2007.py']
model = dict(head=dict(label_embedding=dict(file='data/VOC2007/labels/bert.npz')))
train_dataloader = dict(batch_size=128)
