# Dual-decoupling learning and metric-adaptive thresholding (D2L-MAT, ECCV 2024)
model = dict(method=dict(_delete_=True, type='D2L', loss=dict(type='BinaryCrossEntropy')))
default_hooks = dict(ema=dict(warm_start=True))  # a teacher should not be mostly initial weights
