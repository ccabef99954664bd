"""The processes of test_gathering.py: ``ranks.py FOLDER``. Runs each case with 3, 2 and 1 of them in turn."""

import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine import dist
from mmengine.dataset import DefaultSampler

from sarlp.errors import UserError
from sarlp.evaluation import LabelRecoveryMetric, MultiLabelMetric, gathering

FOLDER = Path(sys.argv[1])
N, C = 17, 5


def make_samples():
    rng = np.random.default_rng(0)
    scores = rng.random((N, C)).astype(np.float32)
    full = rng.choice([1.0, 0.0, -1.0], p=[0.4, 0.5, 0.1], size=(N, C))
    observed = np.where(rng.random((N, C)) < 0.5, full, -1)
    ignore = rng.random((N, C)) < 0.1
    names = ['a.jpg', 'größe/longer name.jpg', 'not utf-8 \udcff.jpg', *(f'{n}.jpg' for n in range(3, N))]
    return [
        dict(img_id=name, **{key: torch.from_numpy(values) for key, values in zip(keys, row, strict=True)})
        for keys in [('pred_score', 'gt_score_full', 'gt_score', 'ignore')]
        for name, *row in zip(names, scores, full, observed, ignore, strict=True)
    ]


SAMPLES = make_samples()


def evaluate(kind, samples=SAMPLES, shuffle=False, round_up=True, batch=2, **options):
    """Metrics, image ids and checksums of the arrays of rank 0; or the message of the error."""
    metric = kind(**options)
    order = list(DefaultSampler(samples, shuffle=shuffle, round_up=round_up, seed=0))
    mine = [samples[index] for index in order]
    for start in range(0, len(mine), batch):
        metric.process(None, mine[start : start + batch])
    try:
        metrics = metric.evaluate(len(samples))
    except UserError as error:
        return {'error': str(error)}
    expected = dist.collect_results([sample['img_id'] for sample in mine], len(samples), 'gpu')
    if dist.get_rank():
        assert metric.report is None
        return {'metrics': metrics}
    assert metric.report['image_ids'] == expected  # MMEngine's own order and cut
    arrays = {name: metric.report[name] for name in metric.kept}
    return {
        'metrics': metrics,
        'image_ids': metric.report['image_ids'],
        'arrays': {name: hashlib.sha1(array.tobytes()).hexdigest() for name, array in arrays.items()},
        'types': {name: f'{array.dtype} {array.shape}' for name, array in arrays.items()},
    }


def cases(world_size):
    for kind in (MultiLabelMetric, LabelRecoveryMetric):
        name = kind.__name__
        yield name, evaluate(kind)
        yield f'{name}, gpu', evaluate(kind, collect_device='gpu')
        yield f'{name}, not rounded up', evaluate(kind, round_up=False)
        yield f'{name}, other batches', evaluate(kind, batch=5)
        yield f'{name}, in files', evaluate(kind, scores_dir=str(FOLDER / f'rank{dist.get_rank()}'))
        rounds, device = gathering._ROUND_BYTES, gathering.dist.get_comm_device
        gathering._ROUND_BYTES = 2 * C * 4 * world_size  # two rows of scores of each rank
        yield f'{name}, in rounds', evaluate(kind)
        gathering.dist.get_comm_device = lambda: torch.device('meta')  # what is not the CPU gathers to all
        yield f'{name}, gathered to all', evaluate(kind)
        gathering._ROUND_BYTES, gathering.dist.get_comm_device = rounds, device
    yield 'shuffled', evaluate(MultiLabelMetric, shuffle=True)
    yield 'twice', evaluate(MultiLabelMetric, [*SAMPLES[:6], SAMPLES[2], SAMPLES[3]])
    yield 'one image', evaluate(MultiLabelMetric, SAMPLES[:1], round_up=False)  # other ranks have none
    yield 'no image', evaluate(MultiLabelMetric, [], round_up=False)
    if world_size > 1:
        narrow = {key: value if key == 'img_id' else value[:3] for key, value in SAMPLES[1].items()}
        yield 'other classes', evaluate(MultiLabelMetric, [SAMPLES[0], narrow])


def run(rank):
    for world_size in (3, 2, 1):
        if rank < world_size:
            if world_size > 1:
                meet = f'file://{FOLDER}/meet{world_size}'
                torch.distributed.init_process_group('gloo', meet, rank=rank, world_size=world_size)
            (FOLDER / f'{world_size}_{rank}.json').write_text(json.dumps(dict(cases(world_size))))
            if world_size > 1:
                torch.distributed.destroy_process_group()


if __name__ == '__main__':
    fork = multiprocessing.get_context('fork')  # importing takes seconds, so it is done once
    processes = [fork.Process(target=run, args=(rank,), daemon=True) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    sys.exit(any(process.exitcode != 0 for process in processes))  # those that still wait go with this one
