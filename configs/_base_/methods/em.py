# Zhou et al., "Acknowledging the unknown for multi-label learning with single positive labels", ECCV 2022;
# alpha, the weight of the unknown labels, is that of VOC (COCO and NUS-WIDE: 0.1, CUB: 0.01)
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(
    method=dict(
        type='KnownAndUnknown',
        loss=loss,
        unknown_loss=dict(type='NegativeEntropy', reduction='mean', loss_weight=0.2),
    )
)
del loss
