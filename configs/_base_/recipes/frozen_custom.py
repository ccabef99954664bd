# A data set of one's own on kept tokens of a frozen backbone: minutes on two cores. Who names this freezes it.
# How long and how fast it trains: as lite0_frozen_voc_sample, which was tried on some hundred photographs
_base_ = ['../datasets/custom.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

image_size = 224
env_cfg = dict(onednn=True)  # half of the time of a head on AMD's processors
channels_last = True  # on a CPU a backbone of depthwise convolutions takes three quarters of the time
tokens = dict(dir='data/tokens', dtype='float16')  # a head learns the same from half of the room
# of a photograph of 12 megapixels, to decode it whole takes longer than the backbone
load = dict(type='LoadImage', min_side='image_size')
# nor a flip: it doubles the backbone's work and gives nothing (docs/results.md)
random_steps = ('RandomFlip', 'RandomCutout', 'mmpretrain.RandAugment')
train_pipeline = [
    load if step['type'] == 'LoadImage' else step for step in _base_.train_pipeline if step['type'] not in random_steps
]
test_pipeline = [load if step['type'] == 'LoadImage' else step for step in _base_.test_pipeline]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
val_dataloader = test_dataloader
train_cfg = dict(max_epochs=30, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(ema=dict(momentum=1 - 0.99), checkpoint=dict(interval=5))
del load, random_steps
