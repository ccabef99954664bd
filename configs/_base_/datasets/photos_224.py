# Pipelines for photographs, 224 px: as those of 448 px but for the size
_base_ = './photos_448.py'

image_size = 224


train_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
test_pipeline = [
    {**step, 'scale': (image_size, image_size)} if step['type'] == 'Resize' else step for step in _base_.test_pipeline
]
