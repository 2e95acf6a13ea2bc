"""The one comparison of the tests: it always asserts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

TOLERANCE = {
    torch.float64: 1e-11,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
}
"""By dtype: how large the root mean square of the error may be, relative to that of the expected value."""

NOISE = 1e-2
"""Where the expected values are smaller than this, errors count relative to it: a sum that cancels leaves rounding."""


def assert_close(actual: Any, expected: Any, *, tolerance: float | None = None, name: str = "value") -> None:
    """Assert that two tensors, or two nests of tensors, agree in structure, shape, dtype and value.

    Args:
        actual: a tensor, None, or a sequence or mapping of them.
        expected: the same; a NumPy array or a number stands for a tensor.
        tolerance: in the place of the table's; it may only be stricter.
        name: what the message calls the value.
    """
    if isinstance(expected, dict):
        _require(isinstance(actual, dict) and list(actual) == list(expected), f"{name}: keys differ")
        for key in expected:
            assert_close(actual[key], expected[key], tolerance=tolerance, name=f"{name}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        _require(isinstance(actual, (list, tuple)) and len(actual) == len(expected), f"{name}: lengths differ")
        for at, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_close(a, e, tolerance=tolerance, name=f"{name}[{at}]")
    elif expected is None or actual is None:
        _require(actual is expected, f"{name}: {_kind(actual)} where {_kind(expected)} was expected")
    else:
        _require(isinstance(actual, Tensor), f"{name}: expected a tensor, got {_kind(actual)}")
        _assert_tensors(actual, _tensor(expected), tolerance, name)


def _assert_tensors(actual: Tensor, expected: Tensor, tolerance: float | None, name: str) -> None:
    _require(actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
    _require(actual.dtype == expected.dtype, f"{name}: dtype {actual.dtype}, expected {expected.dtype}")
    if not actual.dtype.is_floating_point:
        _require(bool((actual == expected).all()), f"{name}: {actual} is not {expected}")
        return
    allowed = TOLERANCE[actual.dtype]
    if tolerance is not None:
        _require(tolerance <= allowed, f"a tolerance of {tolerance} is wider than the table's {allowed}")
        allowed = tolerance
    a, e = actual.detach().double().cpu().flatten(), expected.detach().double().cpu().flatten()
    special = ~e.isfinite()
    same = (a == e) | (a.isnan() & e.isnan())
    _require(bool((same | ~special).all()), f"{name}: infinite or undefined values differ")
    a, e = a[~special], e[~special]
    if a.numel() == 0:
        return
    error = _rms(a - e) / max(_rms(e), NOISE)
    # Written so that an undefined error fails too.
    _require(error <= allowed, f"{name}: relative error {error:.3g}, at most {allowed:.3g} is allowed")


def _rms(value: Tensor) -> float:
    return value.square().mean().sqrt().item()


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.as_tensor(np.asarray(value))


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
