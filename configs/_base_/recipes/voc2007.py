# How the ResNet-101 models are trained on VOC2007: data, schedule, learning rate and EMA
_base_ = ['../datasets/voc2007.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']
