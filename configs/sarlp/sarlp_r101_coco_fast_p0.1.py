# sarlp_r101_coco_p0.1 with everything that makes a step faster; each line can be left out by itself (docs/configs.md)
_base_ = './sarlp_r101_coco_p0.1.py'

optim_wrapper = dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16')
env_cfg = dict(tf32=True, cudnn_benchmark=True)  # for what bfloat16 leaves in float32, and for the evaluation
channels_last = True
compile = dict(dynamic=False)  # for each batch size by itself: a general program would serve all sizes, slower
# large photographs are decoded at a reduced size; cache_dir='data/COCO2014/resized' keeps the resized ones (74 GB)
load = dict(type='LoadResizedImage', scale=(448, 448), min_side=448, interpolation='antialias')
train_dataloader = dict(dataset=dict(pipeline=[load, *_base_.train_pipeline[2:]]))
val_dataloader = dict(dataset=dict(pipeline=[load, *_base_.test_pipeline[2:]]))
test_dataloader = val_dataloader
