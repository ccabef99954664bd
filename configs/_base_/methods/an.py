# assume negative (Cole et al., "Multi-label learning from single positive labels", CVPR 2021)
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(method=dict(type='KnownAndUnknown', loss=loss))
del loss
