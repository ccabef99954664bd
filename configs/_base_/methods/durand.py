# Durand et al., "Learning a deep ConvNet for multi-label classification with partial labels", CVPR 2019
model = dict(method=dict(type='KnownLabels', loss=dict(_delete_=True, type='PartialBCE')))
