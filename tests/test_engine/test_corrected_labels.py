"""Labels that were corrected for good are state of a run."""

import torch

from sarlp.engine import build_runner, load_config

from .conftest import reduced


def test_a_resumed_run_goes_on_with_them(digits, tmp_path):
    options = {**reduced(digits, 'baseline'), 'train_cfg.max_epochs': 3, 'model.method.delta': 0.03}
    options |= {'default_hooks.checkpoint.max_keep_ckpts': -1}

    def train(folder, **more):
        cfg = load_config('large_loss_cp_r18_digits_p0.1', {**options, 'work_dir': str(tmp_path / folder), **more})
        runner = build_runner(cfg)
        runner.train()
        return runner.model

    straight = train('straight')
    resumed = train('resumed', load_from=str(tmp_path / 'straight' / 'epoch_2.pth'), resume=True)
    corrected = straight.method.corrected.values
    assert torch.equal(corrected, resumed.method.corrected.values)
    assert corrected.dtype == torch.uint8
    # ceil(8 * 10 * 0.03) in each of the three batches of the second and the third epoch
    assert corrected.sum() == 2 * 3 * 3
    weights = resumed.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in straight.state_dict().items())
