"""Guards that make the third-party stack usable, from the import of ``sarlp`` on.

Each is applied to a module when somebody imports that, or at once if it is imported: ``import sarlp`` itself imports
none of them, which takes seconds. Nothing here changes what a library computes. Each guard names the breakage it
closes; drop it when the library has.
"""

import contextlib
import functools
import importlib.metadata
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_IDLE_WARNINGS: tuple[dict[str, Any], ...] = (
    # mmcv-lite lacks compiled operators and says so at every start; none is used here
    dict(message='Fail to import ``MultiScaleDeformableAttention``', category=UserWarning),
    # mmpretrain 1.2 has "\d" in plain strings: a SyntaxWarning of Python >= 3.12 where its files are not compiled yet,
    # a DeprecationWarning before
    dict(message='.*invalid escape sequence', category=Warning, module=r'.*\bmmpretrain\b'),
    # what Python 3.12 and 3.13 say of MMEngine 0.10; shown only to who asks for such warnings, as tests do
    dict(message="'maxsplit' is passed as positional argument", category=DeprecationWarning, module='mmengine'),
    dict(message="'pkgutil.find_loader' is deprecated", category=DeprecationWarning, module='mmengine'),
    # MMEngine 0.10 asks torch's DistributedDataParallel for it; the name in its place is too new for torch 2.4
    dict(message='`broadcast_buffers` is deprecated', category=FutureWarning),
    # of torch, where gradients are accumulated: the schedules step with every batch, the optimizer with every N-th
    dict(message='Detected call of `scheduler.step', category=UserWarning),
    # of torch.compile, on how it chose to compute a softmax
    dict(message=r'\s*Online softmax is disabled', category=UserWarning),
)


def guard_terminal() -> None:
    """Do not show the warnings of other libraries that come in normal runs and that no user can act on."""
    for warning in _IDLE_WARNINGS:
        warnings.filterwarnings('ignore', **warning)
    # torch.compile looks for the toolkit of CUDA also on a machine without a GPU
    logging.getLogger('torch.utils.cpp_extension').addFilter(
        lambda record: not record.getMessage().startswith('No CUDA runtime is found')
    )


def guard_mmpretrain(dependency: Any) -> None:
    """Keep mmpretrain importable beside transformers >= 5.

    mmpretrain 1.2 registers its multi-modal models whenever transformers and pycocotools are installed, and building
    those classes fails on transformers 5. The models are not used here, so they are switched off before
    ``mmpretrain.models`` is imported.
    """
    try:
        major = int(importlib.metadata.version('transformers').split('.')[0])
    except importlib.metadata.PackageNotFoundError:
        return
    if major >= 5:
        dependency.WITH_MULTIMODAL = False


def guard_history(history_buffer: ModuleType) -> None:
    """Save log histories without their methods, which only ``getattr`` can load again, and which come by themselves."""
    history_buffer.HistoryBuffer.__getstate__ = lambda self: {
        key: value for key, value in self.__dict__.items() if key != 'statistics_methods'
    }


def guard_checkpoints(checkpoint: Any) -> None:
    """Let no checkpoint run code, wherever MMEngine or mmpretrain reads one.

    MMEngine calls ``torch.load`` without ``weights_only``, which is safe from torch 2.6 on and while no environment
    variable says otherwise, and fetches addresses through ``torch.hub``, which never is. Both read through
    :mod:`sarlp.io.weights_file` now.
    """
    from sarlp.io.pip_parts import SCHEME, load_from_pip
    from sarlp.io.weights_file import load_from_local, load_from_nowhere, load_url

    checkpoint.load_url = load_url  # for http://, torchvision:// and what is built on them
    register = checkpoint.CheckpointLoader.register_scheme
    register('', load_from_local, force=True)
    register(SCHEME, load_from_pip, force=True)
    stores = ['pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://', 'open-mmlab://', 'openmmlab://']
    register(stores, load_from_nowhere, force=True)


def guard_config(config: Any) -> None:
    """Lay the text of a config out once, not for each checkpoint: it takes yapf a second, a short epoch less."""
    lay_out = config.FormatCode

    @functools.lru_cache(maxsize=4)
    def once(text: str, options: str) -> tuple[str, bool]:
        return lay_out(text, **json.loads(options))

    config.FormatCode = lambda text, **options: once(text, json.dumps(options, sort_keys=True))


def guard_optimizers(builder: Any) -> None:
    """Leave Adafactor to be imported by who asks for it.

    MMEngine 0.10 imports it to register it, and transformers with that, and peft: more than torch itself takes.
    """
    if builder.TRANSFORMERS_OPTIMIZERS:
        return  # by who imported MMEngine first

    @builder.OPTIMIZERS.register_module()
    def Adafactor(params: Any, **options: Any) -> Any:
        from transformers import Adafactor

        return Adafactor(params, **options)

    builder.TRANSFORMERS_OPTIMIZERS.append('Adafactor')


_GUARDS: dict[str, Callable[[ModuleType], None]] = {
    'mmengine.config.config': guard_config,
    'mmpretrain.utils.dependency': guard_mmpretrain,
    'mmengine.logging.history_buffer': guard_history,
    'mmengine.optim.optimizer.builder': guard_optimizers,
    'mmengine.runner.checkpoint': guard_checkpoints,
}

# what a module would import, and does without, if it were not installed
_UNWANTED = {'mmengine.optim.optimizer.builder': 'transformers'}


@contextlib.contextmanager
def _not_installed(name: str) -> Iterator[None]:
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # by which the import of it fails
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


class _Guard(MetaPathFinder):
    """Finds nothing itself, but applies the guard of a module that another finder found, right after its import."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _GUARDS:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with _not_installed(_UNWANTED[name]) if name in _UNWANTED else contextlib.nullcontext():
                execute(module)
            _GUARDS[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader
        return spec


def guard_stack() -> None:
    """Apply all guards, now or when their modules are imported."""
    guard_terminal()
    for name, guard in _GUARDS.items():
        if name in sys.modules:
            guard(sys.modules[name])
    sys.meta_path.insert(0, _Guard())
