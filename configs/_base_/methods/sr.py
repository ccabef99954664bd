# ST's saliency regularisation (ICCV 2023): the head alone, on the known labels
model = dict(head=dict(_delete_=True, type='SaliencyHead', num_classes=None, in_channels=None))
