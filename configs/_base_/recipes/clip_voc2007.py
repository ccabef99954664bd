# How the CLIP models are trained on VOC2007
_base_ = './voc2007.py'

train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=2.4e-5))
default_hooks = dict(trainable=dict(type='TrainableParametersHook'))
