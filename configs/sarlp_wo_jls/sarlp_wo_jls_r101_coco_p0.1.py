_base_ = ['../_base_/models/sarlp_wo_jls_r101.py', '../_base_/recipes/coco2014.py']
model = dict(head=dict(label_embedding=dict(file='data/COCO2014/labels/bert.npz')))
