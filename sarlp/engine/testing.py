"""Testing: metrics on the test split, label recovery on the training split, and the files that report them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import LOOPS

from sarlp.datasets.nesting import (
    each_once,
    leaves,
    name_files,
    option_of,
    order_classes,
    require_each_once,
    with_options,
)
from sarlp.engine.build import build_runner
from sarlp.engine.image_sizes import ImageSizesHook, trained_sizes
from sarlp.engine.preparation import UNSAID
from sarlp.engine.progress import describe_runner
from sarlp.engine.records.checkpoint_file import read_checkpoint, trained_classes
from sarlp.engine.records.provenance import (
    contents_of,
    images_of_training,
    images_seen,
    require_masks_of,
    revealed,
    training_of,
)
from sarlp.engine.records.run_record import BEST, SELECTION
from sarlp.engine.records.selection import format_peeking
from sarlp.engine.unlike_training import changes_since_training
from sarlp.errors import UserError
from sarlp.evaluation.metrics import MultiLabelMetric
from sarlp.evaluation.report import (
    METRICS,
    PREDICTIONS,
    RECOVERED,
    check_results,
    format_table,
    write_metrics_json,
    write_predictions_csv,
    write_recovered_csv,
)
from sarlp.io.json_file import read_json


def loader_for_testing(cfg: Config, dataset: Mapping) -> ConfigDict:
    """The loader of the test images, for another data set: each image once, in order, through the test pipeline.

    Raises:
        UserError: see :func:`require_test_loader`.
    """
    require_test_loader(cfg)
    loader = copy.deepcopy(cfg.test_dataloader)
    loader.dataset = with_options(each_once(dataset), pipeline=pipeline_for_testing(cfg), test_mode=True)
    return loader


def pipeline_for_testing(cfg: Config) -> list[Mapping]:
    """The steps of a config that make test images ready.

    Raises:
        UserError: it has data sets with different ones, or none.
    """
    first, *others = test_pipelines(cfg)
    if any(pipeline != first for pipeline in others):
        raise UserError('the data sets of test_dataloader have different pipelines; give them the same one')
    return first


def test_pipelines(cfg: Config) -> list[list[Any]]:
    """The steps of each data set of the test.

    A model that was trained on all images, as a completion has them, has no test; its config says the steps as
    ``test_pipeline``.

    Raises:
        UserError: it says them nowhere.
    """
    if cfg.get('test_dataloader') is not None:
        return [leaf.get('pipeline', []) for leaf in leaves(cfg.test_dataloader.dataset)]
    steps = cfg.get('test_pipeline')
    if steps is None or any(UNSAID in step.values() for step in steps):
        raise UserError(
            f'{cfg.filename}: neither test_dataloader nor test_pipeline says how images are made ready for the model; '
            'name the config that it was trained by, or set one of them'
        )
    return [steps]


def require_test_loader(cfg: Config) -> None:
    """Raises: UserError, the config has no test, which what is asked for needs."""
    if cfg.get('test_dataloader') is None:
        raise UserError(
            f'{cfg.filename}: test_dataloader is None, as where a model is trained on all images; name a config with a '
            'test set, such as the one that this training began with'
        )


def _metric_in(name: str) -> str | None:
    """By which metric a checkpoint of an earlier version was selected, which only its name says; None: by none."""
    found = BEST.fullmatch(name)
    return None if found is None else found['metric']


def describe_protocol(cfg: Config, checkpoint: str, meta: dict, dataset_meta: dict) -> dict:
    """What the numbers depend on, for ``metrics.json``."""
    train = cfg.get('train_dataloader') or {}
    validation = (cfg.get('val_dataloader') or {}).get('dataset')
    held_out, labels = (validation and option_of(validation, name) for name in ('holdout', 'label_fold'))
    metric = meta.get('selected_by') or _metric_in(Path(checkpoint).name)
    average = 'EMA ' if (cfg.get('default_hooks') or {}).get('ema') is not None else ''
    if metric is None:
        selection = 'the epoch of this checkpoint'
    elif labels:
        selection = f'best {average}{metric} on known labels of the training images, held out of training ({labels})'
    elif held_out is None:
        selection = f'best {average}{metric} on the test set'
    else:
        selection = f'best {average}{metric} on held-out training images ({held_out})'
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    evaluator = next((one for one in evaluators if 'threshold' in one), evaluators[0])
    return {
        'checkpoint': str(checkpoint),
        'run': meta.get('run'),
        'epoch': meta.get('epoch'),
        'epoch_selection': selection,
        'selection': peeking(checkpoint, meta.get('epoch')),
        'seed': meta.get('seed'),
        'training': training_of(meta),
        'test_annotations': name_files(cfg.test_dataloader.dataset),
        'difficult': dataset_meta.get('difficult'),
        'label_mask': option_of(train['dataset'], 'label_mask') or {} if train else {},
        'mAP': 'area under the precision made monotone from the right (voc12)',
        'mAP_plain': 'non-interpolated',
        'CF1': '2 CP CR / (CP + CR), CP and CR means over classes',
        'threshold': evaluator.get('threshold'),
        'top_k': evaluator.get('top_k'),
        'units': 'percent',
    }


def peeking(checkpoint: str | Path, epoch: int | None) -> dict | None:
    """What :class:`~sarlp.engine.records.selection.SelectionHook` found of the run whose selected checkpoint this is.

    Returns:
        ``metric``, its value on the test set at the ``selected`` epoch and at the best one, ``best_on_test``, and the
        ``gain_of_peeking``; None if the run did not measure it, or selected another epoch.
    """
    file = Path(checkpoint).parent / SELECTION
    try:
        content = read_json(file) if file.is_file() else None
        if content is None or content['selected']['epoch'] != epoch:
            return None
        return {name: content[name] for name in ('metric', 'selected', 'best_on_test', 'gain_of_peeking')}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f'{file}: is no record of what the training measured on the test set, or damaged; move it to test without'
        ) from None


def hides_labels(cfg: Config) -> bool:
    """Whether a label mask hides labels of the training images, whose recovery can be measured."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    return dataset is not None and any(leaf.get('label_mask') is not None for leaf in leaves(dataset))


def test(
    cfg: Config, checkpoint: str, out_dir: str | Path | None = None, recovery: bool = True, launcher: str = 'none'
) -> dict[str, float]:
    """Test a checkpoint and print the table.

    Args:
        cfg: config of :func:`~sarlp.engine.load_config`; changed in place.
        checkpoint: file; its EMA weights are tested.
        out_dir: where to write ``metrics.json`` (percent), ``predictions.csv`` (a probability for each image and
            class) and, if labels were hidden, ``recovered_labels.csv`` (a probability, a decision and the truth for
            each hidden label of the training images). None writes nothing.
        recovery: also measure the recovery of the hidden training labels, if the config has ``recovery_evaluator`` and
            a label mask.
        launcher: see :func:`~sarlp.engine.build_runner`.

    Returns:
        The metrics, in percent; on every rank.
    """
    if out_dir is not None:
        check_results(out_dir)
    meta = read_checkpoint(checkpoint)
    require_masks_of(meta.get('meta', {}), cfg, checkpoint)
    protocol_cfg = copy.deepcopy(cfg)
    recover = recovery and hides_labels(cfg) and cfg.get('recovery_evaluator') is not None
    recovery_loader: ConfigDict | None = loader_for_testing(cfg, cfg.train_dataloader.dataset) if recover else None
    classes = trained_classes(meta, checkpoint)
    for loader in (cfg.test_dataloader, recovery_loader):
        if classes is not None and loader is not None:
            order_classes(loader.dataset, classes, checkpoint)
    if recovery_loader is not None:
        require_each_once(recovery_loader.dataset, 'train_dataloader.dataset, whose hidden labels are measured')
    cfg.load_from, cfg.resume = checkpoint, False
    require_test_loader(cfg)
    runner = build_runner(cfg, launcher, training=False)
    images = runner.test_loop.dataloader.dataset

    measuring = next((one for one in runner.test_evaluator.metrics if isinstance(one, MultiLabelMetric)), None)
    if measuring is None:
        raise UserError('test_evaluator: the table and the files need a MultiLabelMetric; add one, or take it alone')
    further = ', then the labels hidden in training' if recover else ''
    runner.logger.info(f'testing {checkpoint} on {len(images):,} images{further}; {describe_runner(runner)}')
    sizes = ImageSizesHook()
    runner.register_hook(sizes)
    metrics = runner.test()
    size_change = sizes.change_since(trained_sizes(meta.get('meta', {}), pipeline_for_testing(protocol_cfg)))
    report = measuring.report
    recovered = None
    if recover:
        runner._test_loop = LOOPS.build(  # the runner's own, so that its log counts the right batches
            dict(type='TestLoop', runner=runner, dataloader=recovery_loader, evaluator=cfg.recovery_evaluator)
        )
        metrics = {**metrics, **runner.test_loop.run()}
        recovered = runner.test_evaluator.metrics[0].report
    if report is not None:  # on rank 0
        print(f'\n{format_table({**metrics, "AP": report["AP"]})}')
        protocol = describe_protocol(protocol_cfg, checkpoint, meta.get('meta', {}), images.metainfo)
        protocol['test_images'], protocol['test_contents'] = len(images), contents_of(images)
        protocol['training_images'] = images_of_training(meta.get('meta', {}))
        if seen := len(images_seen(meta.get('meta', {}), images)):
            print(
                f'\nnote: {seen:,} of these images are among those that the model was trained on, so the numbers say '
                'little of new ones'
            )
            protocol['test_images_trained_on'] = seen
        if change := revealed(meta.get('meta', {}), protocol_cfg):
            print(
                f'\nnote: before, these weights were trained under another label mask ({change}), so labels that count '
                'as hidden may be what they were trained on, and their recovery is none'
            )
            protocol['earlier_label_masks'] = change
        changes = changes_since_training(meta.get('meta', {}), protocol_cfg)
        if any(changes := replace(changes, steps=(*changes.steps, *size_change))):
            print(f'\n{changes.kind}: {changes.text(checkpoint)}')
            protocol['unlike_training'] = list(changes)
        if protocol['selection'] is not None:
            print(f'\n{format_peeking(protocol["selection"])}')
        if out_dir is not None:
            _write(Path(out_dir), metrics, report, recovered, protocol)
    return metrics


def _write(out_dir: Path, metrics: dict, report: dict, recovered: dict | None, protocol: dict) -> None:
    write_metrics_json(out_dir / METRICS, metrics, report['AP'], protocol)
    write_predictions_csv(out_dir / PREDICTIONS, report['image_ids'], report['classes'], report['scores'])
    files = [METRICS, PREDICTIONS]
    if recovered is not None:
        write_recovered_csv(
            out_dir / RECOVERED,
            recovered['image_ids'],
            recovered['classes'],
            recovered['scores'],
            recovered['observed'],
            recovered['full'],
            recovered['threshold'],
        )
        files.append(RECOVERED)
    print(f'\nwritten to {out_dir}: {", ".join(files)}')
