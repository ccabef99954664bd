# the mean over the known labels of the batch (BN-BCE of Wang et al., ICCV 2023)
model = dict(method=dict(type='KnownLabels', loss=dict(_delete_=True, type='BinaryCrossEntropy')))
