# VOC2007: trainval trains, test tests (docs/data.md)
_base_ = './photos_448.py'

data_root = 'data/VOC2007'
prepare_data = 'sarlp convert voc2007 --data-dir data/VOC2007'

train_dataloader = dict(
    batch_size=64,  # over all processes
    dataset=dict(data_root=data_root, ann_file='labels/trainval.json'),
)
test_dataloader = dict(batch_size=64, dataset=dict(data_root=data_root, ann_file='labels/test.json'))
val_dataloader = test_dataloader
