"""No test of a cell that can be traced passes because its step ran in a plain Python loop instead, nor because the
reference engine ran what the CPU engine should."""

import pytest

from ostinato import strict

ABOUT_FALLING_BACK = ("stubborn", "cannot_be_traced", "cannot_be_saved", "choice", "errors", "narrow_parameters",
                      "change_of_dtype")


@pytest.fixture(autouse=True)
def no_fallback(request):
    if any(word in request.node.nodeid for word in ABOUT_FALLING_BACK):
        yield
        return
    with strict():
        yield
