# How the CLIP models are trained on NUS-WIDE
_base_ = './nuswide.py'

default_hooks = dict(ema=dict(momentum=1 - 0.9983), trainable=dict(type='TrainableParametersHook'))
