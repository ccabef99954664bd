# Zhang et al., arXiv 2112.07368
model = dict(method=dict(type='KnownLabels', loss=dict(_delete_=True, type='HillLoss')))
