_base_ = ['./baseline_r18_digits_p0.1.py', '../_base_/protocols/select_on_held_out_labels.py']
train_dataloader = dict(dataset=dict(label_fold=_base_.training_labels))
val_dataloader = dict(dataset=dict(label_fold=_base_.held_out_labels))
