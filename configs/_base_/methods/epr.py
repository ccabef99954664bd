# expected positive regularisation (Cole et al., CVPR 2021)
model = dict(method=dict(type='EPR', loss=dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')))
