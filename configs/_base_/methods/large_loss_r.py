# LL-R (Kim et al., "Large loss matters in weakly supervised multi-label classification", CVPR 2022); delta is that of
# ten epochs; give a run of 60 a sixth of it
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(method=dict(type='LargeLoss', mode='R', delta=0.005, loss=loss))
del loss
