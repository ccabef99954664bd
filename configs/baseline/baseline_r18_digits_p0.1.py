_base_ = [
    '../_base_/models/baseline_r18_narrow.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adamw_onecycle_60e.py',
    '../_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=12)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
default_hooks = dict(ema=dict(momentum=1 - 0.99))
