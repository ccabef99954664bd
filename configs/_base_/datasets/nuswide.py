# NUS-WIDE, 81 concepts, the split of its own lists (docs/data.md)
_base_ = './photos_224.py'

data_root = 'data/NUS-WIDE'
prepare_data = 'sarlp convert nuswide --data-dir data/NUS-WIDE'

train_dataloader = dict(
    batch_size=128,  # over all processes
    dataset=dict(data_root=data_root, ann_file='labels/train.json'),
)
test_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root, ann_file='labels/test.json'))
val_dataloader = test_dataloader
