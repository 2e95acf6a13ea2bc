"""Strides, against torch's views."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ostinato.engines.cpu.layout import View, cuts, dense, divided, merged, reshaped, whole

SHAPES = [(12,), (3, 4), (4, 3), (2, 6), (2, 3, 2), (1, 12), (3, 1, 4), (2, 2, 3), (12, 1, 1), (2, 2, 1, 3)]


def _elements(view: View) -> list[int]:
    at = torch.tensor(view.offset)
    for n, s in zip(view.shape, view.strides, strict=True):
        at = at.unsqueeze(-1) + s * torch.arange(n)
    return at.flatten().tolist()


views = st.sampled_from(["permute", "slice", "expand", "every"])


@given(st.sampled_from(SHAPES), st.lists(views, max_size=3), st.sampled_from(SHAPES), st.randoms())
def test_a_reshape_keeps_the_order_or_says_no(shape, changes, to, random):
    view = whole(0, shape)
    for change in changes:
        rank = len(view.shape)
        dim = -random.randint(1, rank)
        if change == "permute":
            view = view.permute(random.sample(range(-rank, 0), rank))
        elif change == "slice":
            start = random.randint(0, view.shape[dim] - 1)
            view = view.slice(dim, start, random.randint(start + 1, view.shape[dim]))
        elif change == "expand":
            view = view.expand(tuple(2 if n == 1 else n for n in view.shape))
        else:
            view = view.every(dim, view.shape[dim] - 1, -1, view.shape[dim])
    if torch.Size(view.shape).numel() != torch.Size(to).numel():
        to = (torch.Size(view.shape).numel(),)
    found = view.reshape(to)
    if found is not None:
        assert _elements(found) == _elements(view)
    else:
        assert cuts(view.shape, view.strides)
    one = divided(torch.Size(view.shape).numel(), cuts(view.shape, view.strides))
    if one is not None:
        again = view.reshape(one)
        assert again is not None and _elements(again) == _elements(view)


def test_strides():
    assert dense((2, 3, 4)) == (12, 4, 1)
    assert merged((2, 3, 4), (12, 4, 1)) == [(24, 1)]
    assert merged((2, 1, 3), (6, 99, 2)) == [(6, 2)]
    assert cuts((2, 3), (1, 2)) == {3}
    assert reshaped((2, 3), (1, 2), (6,)) is None
    assert divided(24, {4, 12}) == (1, 2, 3, 4)
    assert divided(24, {3, 4}) is None
    assert divided(32, {2, 4, 8, 16}) is None
