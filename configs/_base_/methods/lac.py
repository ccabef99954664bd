# the first stage of LAC (NeurIPS 2022)
model = dict(method=dict(_delete_=True, type='LAC', loss=dict(type='BinaryCrossEntropy', reduction='mean')))
