# The recipe for few known labels on a pretrained backbone; docs/methods.md says what each part is worth
model = dict(
    head=dict(_delete_=True, type='TokenHead', num_classes=None, in_channels=None, places=25),
    standardize_tokens=False,  # the head does it
    method=dict(_delete_=True, type='KnownLabels', loss=dict(type='BinaryCrossEntropy'), start_from_prior=True),
)
