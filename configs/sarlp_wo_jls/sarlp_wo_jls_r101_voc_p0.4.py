_base_ = './sarlp_wo_jls_r101_voc_p0.1.py'
train_dataloader = dict(dataset=dict(label_mask=dict(known_ratio=0.4)))
