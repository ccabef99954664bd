_base_ = ['../_base_/models/sarlp_clip_lora_rn101.py', '../_base_/recipes/clip_coco2014.py']
model = dict(head=dict(label_embedding=dict(file='data/COCO2014/labels/bert.npz')))
