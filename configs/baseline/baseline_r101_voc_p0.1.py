_base_ = [
    '../_base_/models/baseline_r101.py',
    '../_base_/datasets/voc2007.py',
    '../_base_/schedules/adamw_onecycle_60e.py',
    '../_base_/default_runtime.py',
]
