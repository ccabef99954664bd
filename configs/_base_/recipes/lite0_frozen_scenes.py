# Kept tokens of a frozen EfficientNet-Lite0: seconds a run on two cores. The config that names this freezes the backbone
_base_ = ['../datasets/scenes.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

tokens = dict(
    dir='data/tokens', views=2
)  # a flip is all the augmentation: strong ones cost frozen features more than they give
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] not in ('RandomCutout', 'mmpretrain.RandAugment')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=30, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(ema=dict(momentum=1 - 0.99), checkpoint=dict(interval=5))
