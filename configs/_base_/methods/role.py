# regularised online label estimation (Cole et al., CVPR 2021)
model = dict(method=dict(_delete_=True, type='ROLE', loss=dict(type='BinaryCrossEntropy', reduction='mean')))
