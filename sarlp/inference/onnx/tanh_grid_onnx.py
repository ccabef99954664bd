"""The custom operator ``sarlp::tanh_grid`` in operators of ONNX; imports onnxscript.

A scan over the classes holds a (B, P, A) slice of the grid at a time, which stays in a cache; the whole grid at once
takes half a gigabyte for 8 images of 448 px and 80 classes, and twice the time.
"""

from onnxscript import FLOAT, graph, script
from onnxscript import opset18 as op


@script(default_opset=op)
def tanh_grid(u: FLOAT['B', 'P', 'A'], v: FLOAT['B', 'C', 'A'], w: FLOAT['A']) -> FLOAT['B', 'P', 'C']:  # noqa: F821
    """See :func:`sarlp.models.tanh_grid.tanh_grid`."""
    rows = op.Unsqueeze(op.Transpose(v, perm=[1, 0, 2]), [2])  # (C, B or 1, 1, A)

    @graph()
    def one_class(row):
        return op.MatMul(op.Tanh(op.Mul(u, row)), w)

    columns = op.Scan(rows, body=one_class, num_scan_inputs=1)  # (C, B, P)
    return op.Transpose(columns, perm=[1, 2, 0])
