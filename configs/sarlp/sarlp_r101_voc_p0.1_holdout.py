_base_ = ['./sarlp_r101_voc_p0.1.py', '../_base_/protocols/select_on_holdout.py']
train_dataloader = dict(dataset=dict(holdout=_base_.training_part))
val_dataloader = dict(dataset=dict(ann_file=_base_.train_dataloader.dataset.ann_file, holdout=_base_.held_out_part))
