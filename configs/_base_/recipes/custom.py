# Hundreds to some ten thousand images are meant, fewer than VOC2007 has. So, against the recipe of VOC2007:
# - ResNet-50, pretrained on ImageNet (the config that names this sets it): half the time of ResNet-101.
# - a batch of 32 gives twice as many steps an epoch; the learning rate goes down by the root of that, as fits AdamW.
# - 30 epochs: the cosine has ended before few images are learnt by heart, and the best epoch is kept anyway.
# - the EMA forgets within 100 steps, not 600: 1,000 images, of which 800 train, make 750 steps in all, after which
#   a quarter of what is evaluated would still be the initial weights.
# These follow from the arithmetic, they were not searched for. Classes are not weighted: the losses have no weights.
_base_ = ['../datasets/custom.py', '../schedules/adamw_onecycle_60e.py', '../default_runtime.py']

train_cfg = dict(max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=6e-5))
default_hooks = dict(ema=dict(momentum=1 - 0.99))
