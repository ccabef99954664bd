# `few` with the pseudo-labels of CAP: of the unknown labels of a class as many are taken for positive, those with the
# highest scores, as the known ones promise
model = dict(
    head=dict(_delete_=True, type='TokenHead', num_classes=None, in_channels=None, places=25),
    standardize_tokens=False,  # the head does it
    method=dict(_delete_=True, type='CAP', loss=dict(type='BinaryCrossEntropy'), start_from_prior=True),
)
default_hooks = dict(ema=dict(warm_start=True))  # a teacher should not be mostly initial weights
