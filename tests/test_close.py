"""The house comparison itself: what it must refuse."""

import numpy as np
import pytest
import torch
from close import assert_close

ONE = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (ONE + 1e-10, ONE, "relative error"),
        (ONE.float() + 1e-4, ONE.float(), "relative error"),
        (ONE, ONE.float(), "dtype"),
        (ONE, ONE[None], "shape"),
        (ONE / 0, -ONE / 0, "infinite or undefined"),
        (ONE * float("nan"), ONE, "relative error nan"),
        (ONE, ONE * float("nan"), "infinite or undefined"),
        ([ONE], [ONE, ONE], "lengths"),
        ({"a": ONE}, {"b": ONE}, "keys"),
        ({"a": [ONE, 2 * ONE]}, {"a": [ONE, ONE]}, r"value\['a'\]\[1\]: relative error"),
        (None, ONE, "None where Tensor was expected"),
        (ONE, None, "Tensor where None was expected"),
        (1.0, ONE, "expected a tensor, got float"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "is not"),
    ],
)
def test_it_refuses(actual, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected)


def test_it_accepts():
    assert_close(ONE + 1e-13, ONE)
    assert_close([ONE, None, {"a": ONE}], (ONE, None, {"a": np.ones(3)}))
    assert_close(ONE / 0, ONE / 0)
    assert_close(torch.zeros(0), torch.zeros(0))
    assert_close(1e-14 * ONE, 0 * ONE)


def test_a_tolerance_never_widens():
    with pytest.raises(AssertionError, match="wider"):
        assert_close(ONE, ONE, tolerance=1e-3)
