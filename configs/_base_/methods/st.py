# Saliency Regularization for Self-Training with Partial Annotations (ICCV 2023)
model = dict(
    head=dict(type='SaliencyHead'),
    method=dict(_delete_=True, type='ST', loss=dict(type='BinaryCrossEntropy')),
)
