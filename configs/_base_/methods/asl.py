# Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021, over the known labels
loss = dict(_delete_=True, type='AsymmetricLoss', gamma_neg=4, gamma_pos=0, clip=0.05, eps=1e-8, scale=1)
model = dict(method=dict(type='KnownLabels', loss=loss))
del loss
