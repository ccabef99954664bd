# LL-Ct (Kim et al., "Large loss matters in weakly supervised multi-label classification", CVPR 2022); delta is that of
# ten epochs; give a run of 60 a sixth of it
loss = dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')
model = dict(method=dict(type='LargeLoss', mode='Ct', delta=0.002, loss=loss))
del loss
