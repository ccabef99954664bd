"""MMEngine's early stopping, which a resumed run goes on with."""

from mmengine.hooks import EarlyStoppingHook as _EarlyStoppingHook

from sarlp.registry import HOOKS

_STATE = 'early_stopping'


@HOOKS.register_module()
class EarlyStoppingHook(_EarlyStoppingHook):
    """Stop when a metric has not improved for ``patience`` evaluations, also across interruptions.

    How long it has been waiting for which score is in the message hub, by which it comes into checkpoints. One at the
    end of an epoch is from before the epoch's evaluation, which is made up for after resuming.

    Args:
        monitor: metric.
        **kwargs: of :class:`mmengine.hooks.EarlyStoppingHook`.
    """

    def before_train(self, runner) -> None:
        state = runner.message_hub.get_info(_STATE)
        if state is not None and state['monitor'] == self.monitor:  # else the score is of something else
            self.wait_count, self.best_score = state['wait_count'], state['best_score']

    def after_val_epoch(self, runner, metrics: dict) -> None:
        super().after_val_epoch(runner, metrics)
        state = dict(monitor=self.monitor, wait_count=self.wait_count, best_score=float(self.best_score))
        runner.message_hub.update_info(_STATE, state)
