"""One of several processes has a loss that is not finite: ``torchrun broken_rank.py OUT``, which each adds to."""

import sys
from pathlib import Path

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sarlp.engine.training.loss_watch import LossWatch
from sarlp.errors import UserError


def main():
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(3, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    watch = LossWatch(OptimWrapper(optimizer))
    weights, said = [], ''
    for step in range(3):
        loss = model(torch.randn(2, 3)).square().sum() * (float('nan') if (rank, step) == (1, 2) else 1.0)
        watch({'loss': loss}, [f'image of {rank}'])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        weights.append(model.module.weight.detach().clone())
        try:
            watch.read()
        except UserError as error:
            said = str(error)
    same = [torch.equal(*pair) for pair in zip(weights, weights[1:], strict=False)]
    Path(f'{sys.argv[1]}.{rank}').write_text(f'{same} {said}')
    torch.distributed.destroy_process_group()


main()
