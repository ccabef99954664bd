# Semantic-aware representation blending (SARB, AAAI 2022), on the class features of the baseline
model = dict(method=dict(_delete_=True, type='SARB', loss=dict(type='BinaryCrossEntropy')))
