# A data set of one's own, made by sarlp convert labels (docs/your_data.md)
_base_ = './photos_448.py'

data_root = 'data/mine'
image_size = 448  # pixels, a multiple of 32
prepare_data = 'sarlp convert labels --csv FILE --img-root DIR --save-dir DATA_ROOT'

# The two above may be set anew in a config that inherits, or by --cfg-options data_root=DIR image_size=224: what is
# left open below, data_root, data_prefix and scale, is filled in when the config is loaded
# (sarlp/engine/config/custom.py).
resize = dict(type='Resize', interpolation='antialias')
train_pipeline = [resize if step['type'] == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [resize if step['type'] == 'Resize' else step for step in _base_.test_pipeline]
del resize

train_dataloader = dict(
    batch_size=32,  # over all processes
    dataset=dict(
        ann_file='labels/trainval.json',
        label_mask=None,  # the labels are incomplete by themselves
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(batch_size=32, dataset=dict(ann_file='labels/test.json', pipeline=test_pipeline))
val_dataloader = test_dataloader
recovery_evaluator = None  # nobody knows the labels that are to be recovered
