# How the CLIP models are trained on MS-COCO
_base_ = './coco2014.py'

train_dataloader = dict(batch_size=32)
default_hooks = dict(trainable=dict(type='TrainableParametersHook'))
