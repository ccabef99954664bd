# C-Tran (CVPR 2021): labels as tokens; up to 75 % of the known ones are shown, the loss is on the others
model = dict(
    head=dict(_delete_=True, type='CTranHead', num_classes=None, in_channels=None),
    method=dict(type='CTran', loss=dict(_delete_=True, type='BinaryCrossEntropy')),
)
