"""Selecting the epoch without the test set: on held-out labels, and what a look at the test set would have gained."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook

from sarlp.datasets.nesting import each_once, leaves, with_options
from sarlp.engine.records.run_record import SELECTION
from sarlp.engine.terminal import note, say
from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.registry import HOOKS


def hold_out_labels(cfg: Config) -> None:
    """Let a validation on held-out labels have the images, the label mask and the fold of the training.

    A ``val_dataloader.dataset`` with ``label_fold=dict(part='heldout')`` becomes the training data set with that part,
    each image once, through its own pipeline: whatever is changed in the training data, no label is in both parts.

    Args:
        cfg: changed in place.

    Raises:
        UserError: the training data set has no ``label_fold`` with the part ``'train'``.
    """
    validation, train = ((cfg.get(name) or {}).get('dataset') for name in ('val_dataloader', 'train_dataloader'))
    if validation is None or train is None or _part(leaves(validation)[0]) != 'heldout':
        return
    if any(_part(leaf) != 'train' for leaf in leaves(train)):
        raise UserError(
            "val_dataloader.dataset.label_fold has the part 'heldout', so train_dataloader.dataset.label_fold must "
            "have the part 'train'; otherwise the epoch would be selected on labels that are trained on"
        )
    dataset = with_options(each_once(train), pipeline=leaves(validation)[0].get('pipeline', []), test_mode=True)
    for leaf in leaves(dataset):
        leaf.label_fold = dict(leaf.label_fold, part='heldout')
    cfg.val_dataloader.dataset = dataset


def _part(leaf: Mapping) -> str | None:
    return (leaf.get('label_fold') or {}).get('part')


def measures_test_set(cfg: Config) -> bool:
    """Whether the training of a config reads the test set."""
    return any(hook.get('type') in ('SelectionHook', SelectionHook) for hook in cfg.get('custom_hooks') or ())


def format_peeking(found: Mapping) -> str:
    """A line for the terminal of what is in ``selection.json``."""
    selected, best = found['selected'], found['best_on_test']
    return (
        f'test {found["metric"]} {selected["test"]:.2f} of epoch {selected["epoch"]}, which is selected without the '
        f'test set; the best on it is {best["test"]:.2f}, of epoch {best["epoch"]}: peeking would add '
        f'{found["gain_of_peeking"]:.2f}'
    )


@HOOKS.register_module()
class SelectionHook(Hook):
    """Measure the test set after each evaluation by which the epoch is selected.

    The selection stays that of ``val_dataloader``. For the log, and in ``selection.json`` of the work directory: the
    test metric of the epoch that is selected, the best one of any epoch, and their difference, which is what choosing
    on the test set would have added to the number.
    """

    priority = 'LOW'
    _measured: Mapping[str, float] = {}

    def before_train(self, runner) -> None:
        if runner.val_loop is None or runner.test_loop is None:
            raise UserError(
                'custom_hooks: SelectionHook needs val_dataloader and test_dataloader; take it out, or set both'
            )
        self._chooser(runner)

    def after_val_epoch(self, runner, metrics: Mapping[str, float] | None = None) -> None:
        self._measured = metrics or {}

    def after_val(self, runner) -> None:
        if runner.record is None:  # Runner.val(), which trains nothing
            return
        chooser = self._chooser(runner)
        metric = chooser.key_indicators[0]
        tested = runner.test_loop.run()
        if metric not in tested:
            raise UserError(
                f'test_evaluator does not measure {metric}, by which the epoch is selected; there are '
                f'{", ".join(tested)}'
            )
        if math.isnan(tested[metric]):  # no class has a positive, so that there is nothing to compare
            return
        row = {'epoch': runner.epoch, 'validation': self._measured[metric], 'test': tested[metric]}
        earlier = runner.message_hub.get_info('selection', [])
        rows = [*(one for one in earlier if one['epoch'] < runner.epoch), row]
        runner.message_hub.update_info('selection', rows)  # saved and resumed with the run
        chosen = runner.record.best.get(metric)
        selected = next((one for one in rows if chosen and one['epoch'] == chosen.epoch), None)
        if selected is None:  # none can be told, or one from before the test set was measured
            return
        best = rows[0]
        for one in rows[1:]:
            best = one if chooser.is_better_than[metric](one['test'], best['test']) else best
        gain = abs(best['test'] - selected['test'])
        content = {
            'metric': metric,
            'selected': selected,
            'best_on_test': best,
            'gain_of_peeking': gain,
            'epochs': rows,
        }
        if is_main_process():
            with atomic_write(Path(runner.work_dir) / SELECTION) as file:
                json.dump(content, file, indent=1)
                file.write('\n')
        (say if runner.epoch == runner.max_epochs else note)(runner.logger, format_peeking(content))

    @staticmethod
    def _chooser(runner) -> CheckpointHook:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                return hook
        raise UserError(
            'custom_hooks: SelectionHook needs default_hooks.checkpoint.save_best, by which the epoch is selected'
        )
