# Saliency Regularization for Self-Training with Partial Annotations (ICCV 2023)
model = dict(
    head=dict(_delete_=True, type='SaliencyHead', num_classes=None, in_channels=None),
    method=dict(_delete_=True, type='ST', loss=dict(type='BinaryCrossEntropy')),
)
