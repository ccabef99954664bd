_base_ = ['../_base_/models/sarlp_clip_lora_rn101.py', '../_base_/recipes/clip_voc2007.py']
model = dict(head=dict(label_embedding=dict(file='data/VOC2007/labels/bert.npz')))
