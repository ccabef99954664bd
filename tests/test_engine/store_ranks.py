"""What label stores hold when several processes write to them: ``torchrun store_ranks.py OUT.pt``."""

import sys

import torch
from mmengine import dist

from sarlp.methods import LabelStore

IMAGES, CLASSES, BATCH = 13, 5, 6


def main():
    torch.distributed.init_process_group('gloo')
    rank, ranks = dist.get_dist_info()
    store = LabelStore(IMAGES, CLASSES, fill=-1.0)
    order = torch.arange(IMAGES).repeat(2)[: 3 * BATCH]  # the last batch is filled up with the first images
    for step, batch in enumerate(order.split(BATCH)):
        own = batch[rank::ranks]
        rows = own[:, None] + torch.arange(CLASSES) / 10 + 100 * step
        store.write(own, rows)
    held = dist.all_gather(store.values)
    assert all(torch.equal(held[0], other) for other in held)
    if rank == 0:
        torch.save(store.values, sys.argv[1])
    torch.distributed.destroy_process_group()


main()
