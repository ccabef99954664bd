"""Guards that make the third-party stack usable, applied once when ``sarlp`` is imported.

Nothing here changes what a library computes. Each guard names the breakage it closes; drop it when the library has.
"""

import importlib.metadata
import warnings

import numpy as np
import torch


def guard_mmpretrain() -> None:
    """Keep mmpretrain importable beside transformers >= 5.

    mmpretrain 1.2 registers its multi-modal models whenever transformers and pycocotools are installed, and building
    those classes fails on transformers 5. The models are not used here, so they are switched off before
    ``mmpretrain.models`` is imported.
    """
    # mmcv-lite lacks compiled operators and says so at every start; none is used here
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    try:
        major = int(importlib.metadata.version('transformers').split('.')[0])
    except importlib.metadata.PackageNotFoundError:
        return
    if major >= 5:
        import mmpretrain.utils.dependency as dependency

        dependency.WITH_MULTIMODAL = False


def allow_runner_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the checkpoints of MMEngine's Runner.

    Besides tensors such a file holds the log history: :class:`mmengine.logging.HistoryBuffer`, which is two numpy
    arrays, and numpy scalars. Exactly these are allowed; ``weights_only=False`` is never used, since it would let a
    downloaded checkpoint run code. The buffer also puts its own methods into its state, which only ``getattr`` can
    load again; they are the defaults that it restores by itself, so they are left out of what is saved.
    """
    from mmengine.logging import HistoryBuffer

    HistoryBuffer.__getstate__ = lambda self: {
        key: value for key, value in self.__dict__.items() if key != 'statistics_methods'
    }
    dtypes = {type(np.dtype(code)) for code in ('f4', 'f8', 'i4', 'i8', 'u1', 'u8', 'b1')}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.dtype,
            np.ndarray,
            *sorted(dtypes, key=lambda cls: cls.__name__),
            np._core.multiarray._reconstruct if hasattr(np, '_core') else np.core.multiarray._reconstruct,
            np._core.multiarray.scalar if hasattr(np, '_core') else np.core.multiarray.scalar,
        ]
    )
