# assume negative with smoothed labels (Cole et al., CVPR 2021)
model = dict(method=dict(type='KnownAndUnknown', loss=dict(_delete_=True, type='SmoothedBCE', reduction='mean')))
