# Some hundred photographs in the layout of VOC2007, at 224 px: trainval trains, test tests (docs/data.md)
_base_ = './photos_224.py'

data_root = 'data/voc_sample'
prepare_data = 'sarlp convert voc2007 --data-dir data/voc_sample'

loading = dict(batch_size=32, num_workers=0)  # on two cores a worker takes from the training what it gives
train_dataloader = dict(**loading, dataset=dict(data_root=data_root, ann_file='labels/trainval.json'))
test_dataloader = dict(**loading, dataset=dict(data_root=data_root, ann_file='labels/test.json'))
val_dataloader = test_dataloader
del loading
