# assume negative, weakly (Cole et al., CVPR 2021)
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(method=dict(type='KnownAndUnknown', loss=loss, weak=True))
del loss
