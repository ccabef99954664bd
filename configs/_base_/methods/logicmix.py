# LogicMix (Pattern Recognition 2026)
model = dict(method=dict(type='LogicMix'))
