# asymmetric pseudo-labels over maximal entropy (Zhou et al., ECCV 2022); the weights are of VOC, alpha as in em.py
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(
    method=dict(
        type='APL',
        loss=loss,
        unknown_loss=dict(type='NegativeEntropy', reduction='mean', loss_weight=0.2),
    )
)
del loss
