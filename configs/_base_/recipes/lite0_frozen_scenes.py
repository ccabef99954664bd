# Kept tokens of a frozen EfficientNet-Lite0: seconds a run on two cores. Who names this freezes the backbone
_base_ = ['../datasets/scenes.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

# a flip is all the augmentation: strong ones cost frozen features more than they give
tokens = dict(dir='data/tokens', views=2)
strong = ('RandomCutout', 'mmpretrain.RandAugment')
train_pipeline = [step for step in _base_.train_pipeline if step['type'] not in strong]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=30, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(ema=dict(momentum=1 - 0.99), checkpoint=dict(interval=5))
del strong
