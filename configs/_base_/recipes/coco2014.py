# How the ResNet-101 models are trained on MS-COCO: data, schedule, learning rate and EMA
_base_ = ['../datasets/coco2014.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

optim_wrapper = dict(optimizer=dict(lr=5e-5))
default_hooks = dict(ema=dict(momentum=1 - 0.9997))
