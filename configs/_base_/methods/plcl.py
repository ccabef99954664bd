# Durand et al., "Learning a deep ConvNet for multi-label classification with partial labels", CVPR 2019
model = dict(method=dict(_delete_=True, type='PLCL', loss=dict(type='BinaryCrossEntropy')))
