# Chen et al., "Boosting single positive multi-label classification with generalized robust loss", IJCAI 2024
model = dict(method=dict(type='GR', loss=dict(_delete_=True, type='BinaryCrossEntropy', reduction='mean')))
