import pytest
import torch
import torch.nn.functional as F

from sarlp.models.column_layers import column_layers


@pytest.fixture
def parts():
    torch.manual_seed(0)
    shapes = {'weight': (13, 5 + 11), 'bias': (13,), 'first': (3, 5), 'second': (2, 7, 11)}
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes.values()]


def of_layers(weight, bias, first, second, biased):
    return column_layers((first, second), weight, bias, biased)


def of_slices(weight, bias, first, second, biased):
    return [
        F.linear(each, columns, bias if place == biased else None)
        for place, (each, columns) in enumerate(zip((first, second), weight.split((5, 11), 1), strict=True))
    ]


@pytest.mark.parametrize('biased', [0, 1])
def test_gradients(parts, biased):
    assert torch.autograd.gradcheck(lambda *given: tuple(of_layers(*given, biased)), parts)


@pytest.mark.parametrize('biased', [0, 1])
@pytest.mark.parametrize('needed', [(0, 1, 2, 3), (0, 3), (2,), (1,)])
def test_numbers_are_those_of_slices(parts, biased, needed):
    for place, each in enumerate(parts):
        each.requires_grad_(place in needed)
    found = []
    for form in (of_layers, of_slices):
        outputs = form(*parts, biased)
        loss = sum(each.square().sum() for each in outputs)
        found.append([*outputs, *torch.autograd.grad(loss, [parts[place] for place in needed], allow_unused=True)])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(of_layers(*parts, biased), found[1][:2], rtol=0, atol=1e-12)


def test_the_gradient_lies_as_the_weight_does(parts):
    seen = []
    parts[0].register_hook(lambda gradient: seen.append(gradient.is_contiguous()))
    sum(each.sum() for each in of_layers(*parts, 0)).backward()
    assert seen == [True]


def test_half_precision(parts):
    """Autocast does not look into a function; outputs are half, gradients as their tensors are."""
    parts = [each.detach().float().requires_grad_() for each in parts]
    found = []
    for form in (of_layers, of_slices):
        with torch.autocast('cpu', torch.bfloat16):
            outputs = form(*parts, 1)
        found.append([*outputs, *torch.autograd.grad(sum(each.float().square().sum() for each in outputs), parts)])
    assert {each.dtype for each in found[0][:2]} == {torch.bfloat16}
    assert {each.dtype for each in found[0][2:]} == {torch.float32}
    torch.testing.assert_close(*found, rtol=2e-2, atol=2e-2)
