"""First and second derivatives of a run of three steps, for every cell, against finite differences."""

import catalogue
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from ostinato import Recurrent

STEPS, BATCH, WIDTH, HIDDEN = 3, 2, 2, 3


def _problem(name):
    """A function of the input, the initial states and every parameter, and its arguments."""
    hidden = HIDDEN if name != "convlstm" else 1  # its kernels have nine times the weights
    cell = catalogue.build(name, input_size=WIDTH, hidden_size=hidden)
    run, count = Recurrent(cell), len(cell.states)
    keys = [f"cell.{key}" for key, _ in cell.named_parameters()]
    leaves = [
        catalogue.inputs(cell, STEPS, BATCH, WIDTH),
        *catalogue.initial(cell, BATCH),
        *(p.detach().clone() for p in cell.parameters()),
    ]

    def function(x, *rest):
        parameters = dict(zip(keys, rest[count:], strict=True))
        outputs, ends = torch.func.functional_call(run, parameters, (x, rest[:count]))
        return outputs, *ends

    return function, [leaf.requires_grad_() for leaf in leaves]


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_first_derivatives(name):
    function, leaves = _problem(name)
    assert gradcheck(function, leaves)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_second_derivatives(name):
    function, leaves = _problem(name)
    torch.manual_seed(2)  # gradgradcheck draws the gradients that come from above
    assert gradgradcheck(function, leaves)
