# Some hundred photographs in the layout of VOC2007, at 224 px: trainval trains, test tests (docs/data.md)
_base_ = './photos_224.py'

data_root = 'data/voc_sample'
prepare_data = 'sarlp convert voc2007 --data-dir data/voc_sample'

# as the weights of EfficientNet-Lite0 were made: TensorFlow does not average either (docs/results.md)
law = dict(interpolation='bilinear')
train_pipeline = [{**step, **law} if step['type'] == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [{**step, **law} if step['type'] == 'Resize' else step for step in _base_.test_pipeline]

loading = dict(batch_size=32, num_workers=0)  # on two cores a worker takes from the training what it gives
train_dataloader = dict(
    **loading, dataset=dict(data_root=data_root, ann_file='labels/trainval.json', pipeline=train_pipeline)
)
test_dataloader = dict(
    **loading, dataset=dict(data_root=data_root, ann_file='labels/test.json', pipeline=test_pipeline)
)
val_dataloader = test_dataloader
del law, loading
