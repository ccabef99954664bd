import torch
import torch.nn.functional as F
from torch import nn

from sarlp.models.column_slices import column_slices


def test_numbers_are_those_of_views_and_the_gradients_lie_as_the_weight_does():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(13, 5 + 11))
    inputs = [torch.randn(3, 5, requires_grad=True), torch.randn(7, 11, requires_grad=True)]
    of_views, of_slices = [], []
    for results, slices in ((of_views, weight.split((5, 11), 1)), (of_slices, column_slices(weight, (5, 11)))):
        laid_out = []
        for columns in slices:
            columns.register_hook(lambda grad, laid_out=laid_out: laid_out.append(grad.is_contiguous()))
        outputs = [F.linear(x, columns) for x, columns in zip(inputs, slices, strict=True)]
        loss = sum(output.square().sum() for output in outputs)
        results += [*outputs, *torch.autograd.grad(loss, [weight, *inputs])]
        assert laid_out == [results is of_slices] * 2
    torch.testing.assert_close(of_slices, of_views, rtol=0, atol=1e-5)
