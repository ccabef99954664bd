_base_ = ['../_base_/models/sarlp_r101.py', '../_base_/recipes/nuswide.py']
model = dict(head=dict(label_embedding=dict(file='data/NUS-WIDE/labels/bert.npz')))
default_hooks = dict(ema=dict(momentum=1 - 0.9983))  # the other models keep the recipe's
