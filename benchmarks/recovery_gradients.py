"""How strongly each loss of a method reaches the backbone: norms of its gradient, step by step.

    python benchmarks/recovery_gradients.py sarlp_r18_digits_p0.1 --steps 100

trains as the config says, for that many steps, and prints the medians.
"""

import argparse
import tempfile

import numpy as np
import torch

from sarlp.engine import build_runner, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--steps', type=int, default=100)
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(args.config, args.cfg_options)
        cfg.work_dir = folder
        runner = build_runner(cfg)
        loader = runner.build_dataloader(cfg.train_dataloader, seed=0)
        optimizer = runner.build_optim_wrapper(cfg.optim_wrapper)
        model = runner.model.train()
        shared = [weight for weight in model.backbone.parameters() if weight.requires_grad]
        norms: dict[str, list[float]] = {}
        step = 0
        while step < args.steps:
            for batch in loader:
                losses = model(**model.data_preprocessor(batch, True), mode='loss')
                losses = {name: loss for name, loss in losses.items() if 'loss' in name}
                for name, loss in losses.items():
                    found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
                    square = sum(float(part.square().sum()) for part in found if part is not None)
                    norms.setdefault(name, []).append(square**0.5)
                optimizer.update_params(sum(losses.values()))
                step += 1
                if step == args.steps:
                    break
    known = np.median(norms['loss_known'])
    for name, values in norms.items():
        print(
            f'{name}: median norm {np.median(values):.3g}, {np.median(values) / known:.2%} of that of the known labels'
        )


if __name__ == '__main__':
    main()
