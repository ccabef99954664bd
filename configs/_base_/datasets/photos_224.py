# Photographs of 224 px: as those of 448 px but for the size
_base_ = './photos_448.py'

image_size = 224

train_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
test_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.test_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = test_dataloader
