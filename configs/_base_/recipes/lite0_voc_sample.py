# Some minutes on two cores: 5 epochs of a pretrained network, 21 steps each for 661 images
_base_ = ['../datasets/voc_sample.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

train_cfg = dict(max_epochs=5)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(ema=dict(momentum=1 - 0.95))  # after 105 steps the initial weights are no part of the average
