_base_ = ['../_base_/models/sarlp_clip_lora_rn101.py', '../_base_/recipes/clip_nuswide.py']
model = dict(head=dict(label_embedding=dict(file='data/NUS-WIDE/labels/bert.npz')))
