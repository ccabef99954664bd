# MS-COCO 2014: train2014 trains, val2014 tests (docs/data.md)
_base_ = './photos_448.py'

data_root = 'data/COCO2014'
prepare_data = 'sarlp convert coco --data-dir data/COCO2014'

train_dataloader = dict(
    batch_size=52,  # over all processes
    dataset=dict(data_root=data_root, ann_file='labels/train.json'),
)
test_dataloader = dict(batch_size=52, dataset=dict(data_root=data_root, ann_file='labels/val.json'))
val_dataloader = test_dataloader
