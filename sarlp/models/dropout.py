"""Dropout that does not take longer than the layer it follows."""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # of a random number


class Dropout(nn.Dropout):
    """torch's dropout, and on a CPU one with random numbers of 16 bits, of which one draw has four.

    torch draws a number for each value, one after the other unless the processor is Intel's. Behind a small head on
    kept tokens that was half of a training step. These are the same on every CPU, and eight times as fast. The chance
    is ``p`` rounded to 1 / 65,536, and what is kept is scaled by that chance, so that the mean is the input.
    """

    def forward(self, values: Tensor) -> Tensor:
        dropped = round(self.p * _STEPS)
        if (
            not self.training
            or values.device.type != 'cpu'
            or dropped in (0, _STEPS)
            or self.inplace
            or torch.compiler.is_compiling()
        ):
            return super().forward(values)
        draws = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        numbers = draws.view(torch.int16)[: values.numel()].view(values.shape)  # from -2^15 on, each as likely
        kept = numbers.ge_(dropped - _STEPS // 2).to(values.dtype)  # bool would take three times as long to turn
        return values * kept.mul_(_STEPS / (_STEPS - dropped))
