"""Gradients of one batch, of one process or shared by several: ``torchrun gradients.py OUT.pt``.

``frozen``: the whole classifier under DDP, BatchNorm in evaluation mode. ``synchronised``: the head in training mode,
whose BatchNorm takes its statistics over all ranks, on the CPU too.
"""

import sys

import torch
from mmengine import dist
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch.nn.parallel import DistributedDataParallel

import sarlp  # noqa: F401
from sarlp.registry import METHODS, MODELS

torch.set_num_threads(1)
IMAGES, CLASSES, DIM, GRID = 6, 5, 32, (3, 3)


def build(mode):
    init_default_scope('sarlp')
    head = dict(
        type='SARLPHead',
        num_classes=CLASSES,
        in_channels=DIM,
        label_embedding=dict(type='LabelEmbedding', dim=13, file=None),
        encoder=dict(type='TokenEncoder', num_heads=4, feedforward_dim=23, dropout=0.0),
        srfl=dict(type='SRFL'),
        sgfe=dict(type='SGFE', attention_dim=17, dropout=0.0),
        recovery=dict(type='LabelRecovery'),
    )
    torch.manual_seed(0)
    if mode == 'synchronised':
        return torch.nn.SyncBatchNorm.convert_sync_batchnorm(MODELS.build(head)).double().train()
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4)
    model = dict(type='MultiLabelClassifier', backbone=backbone, head=head, method=method())
    return MODELS.build(model).double().eval()


def method():
    loss = dict(type='AsymmetricLoss', reduction='sum')
    return dict(type='SARLP', loss=loss, recovery_loss={**loss, 'reduction': 'mean', 'loss_weight': 0.8})


class Loss(torch.nn.Module):
    """The loss of a batch as one number, which is what DDP wants a forward pass to give."""

    def __init__(self, model, mode):
        super().__init__()
        self.model, self.mode = model, mode

    def forward(self, inputs, target):
        if self.mode == 'synchronised':
            return sum(METHODS.build(method()).losses(self.model(inputs, GRID), target).values())
        samples = []
        for row in target:
            samples.append(DataSample())
            samples[-1].set_field(row, 'gt_score')
        return sum(self.model(inputs, samples, mode='loss').values())


def gradients(mode, rank, ranks):
    model = Loss(build(mode), mode)
    torch.manual_seed(1)
    inputs = torch.randn(IMAGES, GRID[0] * GRID[1], DIM) if mode == 'synchronised' else torch.randn(IMAGES, 3, 64, 64)
    target = torch.randint(-1, 2, (IMAGES, CLASSES)).double()
    wrapped = DistributedDataParallel(model) if ranks > 1 and mode == 'frozen' else model
    wrapped(inputs.double()[rank::ranks], target[rank::ranks]).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    if mode == 'synchronised':  # DDP refuses SyncBatchNorm without a GPU; it would average too
        for grad in found.values():
            dist.all_reduce(grad, 'mean')
    return {**found, **dict(model.named_buffers())}


def main():
    torch.distributed.init_process_group('gloo')
    rank, ranks = dist.get_dist_info()
    found = {mode: gradients(mode, rank, ranks) for mode in ('frozen', 'synchronised')}
    if rank == 0:
        torch.save(found, sys.argv[1])
    torch.distributed.destroy_process_group()


main()
