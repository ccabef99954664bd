_base_ = ['../_base_/models/sarlp_wo_jls_r101.py', '../_base_/recipes/nuswide.py']
model = dict(head=dict(label_embedding=dict(file='data/NUS-WIDE/labels/bert.npz')))
