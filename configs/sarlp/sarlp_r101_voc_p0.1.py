_base_ = [
    '../_base_/models/sarlp_r101.py',
    '../_base_/datasets/voc2007.py',
    '../_base_/schedules/adamw_onecycle_60e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(label_embedding=dict(file='data/VOC2007/labels/bert.npz')))
