# How the ResNet-101 models are trained on NUS-WIDE: data, schedule, learning rate and EMA
_base_ = ['../datasets/nuswide.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

default_hooks = dict(ema=dict(momentum=1 - 0.9997))
