# AdamW; learning rate and beta1 in one cycle against each other, stepped every iteration
optim_wrapper = dict(
    type='OptimWrapper',
    # fused: the same numbers up to rounding, from one kernel; on a CPU five times as fast
    optimizer=dict(type='AdamW', lr=9e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, fused=True),
)
param_scheduler = [
    dict(type='OneCycleLR', warmup=0.2, div_factor=25.0, final_div_factor=1e4, convert_to_iter_based=True),
    dict(type='OneCycleMomentum', warmup=0.2, low=0.85, high=0.95, convert_to_iter_based=True),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=60, val_interval=1)
val_cfg = dict()
test_cfg = dict()
