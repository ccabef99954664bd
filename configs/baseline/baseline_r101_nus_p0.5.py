_base_ = './baseline_r101_nus_p0.1.py'
train_dataloader = dict(dataset=dict(label_mask=dict(known_ratio=0.5)))
