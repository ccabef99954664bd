"""Which device computes: what a person asked for, or the best that there is."""

import torch
from mmengine.device import get_device
from mmengine.device import utils as mmengine_devices

from sarlp.errors import UserValueError

AUTO = 'auto'


def choose_device(name: str | torch.device = AUTO) -> torch.device:
    """The device to compute on.

    Args:
        name: ``'auto'``, the GPU if there is one, as MMEngine chooses for training; or a device of torch: ``'cpu'``,
            ``'cuda'``, ``'cuda:1'``, ``'mps'``.

    Raises:
        UserValueError: there is no such device on this machine; the message lists what there is.
    """
    found = _found()
    if name == AUTO:
        return torch.device(_best())
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # no word of torch's
        device = None
    if device is None or not ({str(device), f'{device}:0'} & {*found, 'cpu:0'}):
        raise UserValueError(
            f'device {str(name)!r} is not on this machine, which has {", ".join(found)}; choose one of these, or {AUTO}'
        )
    return device


def announce_device(name: str | torch.device) -> torch.device:
    """:func:`choose_device`, and one line on the standard output that names it."""
    device = choose_device(name)
    print(f'device: {describe_device(device)}', flush=True)
    return device


def describe_device(device: torch.device) -> str:
    """``cpu``, ``cuda:0 (NVIDIA H100)``."""
    return f'{device} ({torch.cuda.get_device_name(device)})' if device.type == 'cuda' else str(device)


def use_device(name: str | torch.device) -> torch.device:
    """Let MMEngine's runner of this process compute there, which it has no argument for; the runner says where it is.

    Raises:
        UserValueError: see :func:`choose_device`.
    """
    device = choose_device(name)
    mmengine_devices.DEVICE = device.type
    if device.type == 'cuda' and device.index is not None:
        torch.cuda.set_device(device)
    return device


def _best() -> str:
    if torch.cuda.is_available():
        return 'cuda'
    return 'mps' if torch.backends.mps.is_available() else get_device()


def _found() -> list[str]:
    devices = ['cpu']
    if torch.cuda.is_available():
        devices += [f'cuda:{index}' for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append('mps:0')
    best = _best()  # of a kind that MMEngine knows and torch may not
    return devices if any(device.partition(':')[0] == best for device in devices) else [*devices, best]
