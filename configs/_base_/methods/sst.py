# Structured semantic transfer (SST, AAAI 2022), on the class features of the baseline
pair_loss = dict(
    type='AsymmetricLoss', gamma_neg=2, gamma_pos=1, clip=0.05, eps=1e-8, scale=1.0, reduction='mean_known'
)
model = dict(method=dict(_delete_=True, type='SST', loss=dict(type='BinaryCrossEntropy'), pair_loss=pair_loss))
del pair_loss
