"""MMEngine's Runner, in whose errors a part that is built of the config is called by its name there."""

from collections.abc import Mapping
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from sarlp.engine.config.building import known_options, options_of
from sarlp.evaluation.evaluator import CheckedEvaluator


class NamingRunner(Runner):
    """What :class:`~sarlp.engine.MultiLabelRunner` builds on."""

    def register_hook(self, hook: Hook | Mapping, *args, **kwargs) -> None:
        with options_of(hook, 'default_hooks or custom_hooks'):
            super().register_hook(hook, *args, **kwargs)

    def build_param_scheduler(self, scheduler: Any) -> list:
        with options_of(scheduler, 'param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        built = super().build_evaluator(evaluator)
        if type(built) is not Evaluator:  # one's own
            return built
        checked = CheckedEvaluator(built.metrics)
        checked.dataset_meta = built.dataset_meta
        return checked

    def build_train_loop(self, loop: Any) -> Any:
        with known_options(self.cfg):
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: Any) -> Any:
        with known_options(self.cfg):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: Any) -> Any:
        with known_options(self.cfg):
            return super().build_test_loop(loop)
