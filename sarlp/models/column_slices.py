"""Slices of a weight, each for another input: a layer on inputs side by side is the sum of a layer on each."""

from collections.abc import Sequence

from torch import Tensor


def column_slices(weight: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The columns of ``weight`` (N, sum of ``widths``), as (N, width) each.

    They are copies, row by row as the weight is. Of a view torch lays the gradient out column by column, and to put
    those of the slices together again, row by row, took longer than the products that they come from; of a copy it has
    the order of the weight. The numbers are the same.
    """
    return [columns.contiguous() for columns in weight.split(tuple(widths), 1)]
