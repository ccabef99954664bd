# `few` with a teacher: its beliefs on the weak view are the targets of the unknown labels on the strong one
model = dict(
    head=dict(_delete_=True, type='TokenHead', num_classes=None, in_channels=None, places=25),
    standardize_tokens=False,  # the head does it
    method=dict(_delete_=True, type='Taught', loss=dict(type='BinaryCrossEntropy'), start_from_prior=True),
)
default_hooks = dict(ema=dict(warm_start=True))  # a teacher should not be mostly initial weights
