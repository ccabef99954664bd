# BoostLU (CVPR 2023): positive cells of the class maps count five times; the classifier learns ten times as fast
model = dict(head=dict(_delete_=True, type='BoostLUHead', num_classes=None, in_channels=None))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.score': dict(lr_mult=10)}))
