# Lin et al., "Focal loss for dense object detection", ICCV 2017
model = dict(method=dict(type='KnownLabels', loss=dict(_delete_=True, type='FocalLoss')))
