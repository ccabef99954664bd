# the first stage of LAC (NeurIPS 2022)
model = dict(method=dict(_delete_=True, type='LAC', loss=dict(type='BinaryCrossEntropy', reduction='mean')))
default_hooks = dict(ema=dict(warm_start=True))  # a teacher should not be mostly initial weights
