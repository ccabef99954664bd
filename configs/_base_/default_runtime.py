default_scope = 'sarlp'
env_cfg = dict(
    cudnn_benchmark=False,
    tf32=False,  # whether matrix products of float32 may round their factors to TF32, on GPUs that have it
    onednn=False,  # on a CPU: products of float32 by oneDNN, faster on AMD's (docs/configs.md)
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0)
log_level = 'INFO'
# scalars.json, and the same curves for TensorBoard: tensorboard --logdir WORK_DIR
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardScalars')])
load_from = None
resume = False

# MMEngine's own six by name, and ours; a config changes one by its name: default_hooks.ema.momentum=0.001
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # best_mAP_*.pth is the epoch whose EMA weights have the best mAP on the test set, as the paper selects it
    # 2 are kept: should the newest be damaged, --resume goes on from the other. iter_interval=500: within epochs too
    checkpoint=dict(type='ResumableCheckpointHook', interval=1, max_keep_ckpts=2, save_best='mAP', rule='greater'),
    # the EMA weights are what is evaluated, and what a checkpoint holds as state_dict
    ema=dict(type='EMAFromStartHook', momentum=1 - 0.9983, update_buffers=True),
    seed=dict(type='SeedHook'),
    data_check=dict(type='DataCheckHook'),
)
