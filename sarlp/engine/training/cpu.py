"""What makes a training on a CPU faster and torch does not do by itself."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step, up to 2 GB, instead of giving it back to the system.

    Otherwise every step asks for the same pages again, which the system must find and fill with zeros. Numbers stay as
    they are. It is for the whole process, and does something with glibc only.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)  # larger blocks are given back as ever
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


@contextlib.contextmanager
def onednn_products() -> Iterator[None]:
    """Within, :func:`multiply_by_onednn`; what is scored afterwards, or by another process, is as without."""
    before = torch.get_float32_matmul_precision()
    multiply_by_onednn()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def multiply_by_onednn() -> bool:
    """Let matrix products of float32 on the CPU be those of oneDNN instead of MKL's.

    On AMD's processors with AVX-512 they are about twice as fast, since MKL does without AVX-512 there; sums are added
    up in another order. torch takes them only with the leave to round factors to bfloat16. Where a processor makes use
    of the leave, products are MKL's again.

    Returns whether they are oneDNN's.
    """
    torch.set_float32_matmul_precision('medium')
    factor = torch.full((256, 256), 1 + 2.0**-9)  # bfloat16 has no room for it, and gives 256
    exact = 256 * (1 + 2.0**-9) ** 2
    if ((factor @ factor - exact).abs() > 0.1).any():
        torch.set_float32_matmul_precision('highest')
        return False
    return True
