"""Saved layers: the same bits in a fresh process; what is damaged, unknown or cannot be saved is one clear line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from close import assert_close
from torch import nn

from ostinato import ModelFileError, Recurrent, cells, files, layers
from ostinato.errors import InputError
from ostinato.layers.files import FORMAT, LAYERS, WEIGHTS, load, save
from ostinato.recurrent.files import read_model, write_model

SEQUENCE, IMAGE = (3, 7, 4), (2, 4, 6, 3)


class Marked(cells.Cell2d):
    """Reads one of its states of the row above, one that does not begin with zero."""

    def __init__(self):
        super().__init__()
        self.W = nn.Linear(3, 2)
        self.add_state("a", 2)
        self.add_state("b", 2, initial=1.0)

    @property
    def above(self):
        return self.states[1:]

    def step(self, x, b_above, a, b):
        new = torch.tanh(self.W(x) + a + b_above)
        return new, 0.5 * b + new


def both(low: int, merge: str | None = "concat") -> layers.Bidirectional:
    return layers.Bidirectional(cells.GRU(low, 5), Recurrent(cells.LSTM(low, 5), reverse=True, save="recompute"), merge)


LAYERS_OF_ALL_KINDS = {
    "recurrent": (lambda: Recurrent(cells.LSTM(4, 5), reverse=True), SEQUENCE),
    "both": (lambda: both(4, "sum"), SEQUENCE),
    "pair": (lambda: both(4, None), SEQUENCE),
    "stack": (lambda: layers.Stack([both(4), layers.TDNN(10, 6, (-1, 2), stride=2), cells.GRU(6, 6), cells.Leaky(6, 6)],
                                   dropout=0.5, residual=False), SEQUENCE),
    "residual": (lambda: layers.Stack([layers.Stack([cells.Elman(4, 4)]), cells.GRU(4, 4)], residual=True), SEQUENCE),
    "time first": (lambda: layers.Stack([layers.TDNN(4, 5, 2, causal=True, edges="valid", batch_first=False, bias=False,
                                                     nonlinearity="tanh"),
                                         Recurrent(cells.GRU(5, 6), batch_first=False)]), SEQUENCE),
    "wrapped": (lambda: layers.Stack([cells.LearnedInitial(cells.Zoneout(cells.LSTM(4, 5), 0.2))]), SEQUENCE),
    "four corners": (lambda: layers.Recurrent2d.create("lstm2d", 3, 5, merge="sum"), IMAGE),
    "two corners": (lambda: layers.Recurrent2d([cells.LSTM(3 + 2, 4, proj_size=2), Marked()],
                                               ["bottom-right", "top-left"], merge=None), IMAGE),
    "images": (lambda: layers.Stack([layers.Patches(2, 3), layers.ReNet(both(18), both(10, "mul"))]), IMAGE),
    "design 1": (lambda: layers.HiddenToHidden(cells.Elman(4, 5), 6), SEQUENCE),
    "design 2": (lambda: layers.OutputToHidden(4, 5, 6, layers.LinearDecay(0.1), seed=3), SEQUENCE),
    "design 3": (lambda: layers.OneOutput(cells.create("skip", 4, 5, delays=3), 6), SEQUENCE),
    "feedback": (lambda: layers.Feedback(cells.NARX(4, 5, delays=2), 0.25), SEQUENCE),
    "rnn": (lambda: layers.RNN(4, 5, nonlinearity="relu", bias=False), SEQUENCE),
    "lstm": (lambda: layers.LSTM(4, 5, 2, batch_first=True, dropout=0.3, bidirectional=True, proj_size=3), SEQUENCE),
    "gru": (lambda: layers.GRU(4, 5, 3), SEQUENCE),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS_OF_ALL_KINDS)
def test_loaded_equals_saved(name, tmp_path):
    make, shape = LAYERS_OF_ALL_KINDS[name]
    torch.manual_seed(2)
    layer, x = make().double().eval(), torch.randn(shape, dtype=torch.float64)
    next(layer.parameters()).requires_grad_(False)
    wanted = layer(x)
    drawn = torch.random.get_rng_state()
    save(layer, tmp_path / "a" / "b")
    found = load(tmp_path / "a" / "b")
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert type(found) is type(layer) and not any(module.training for module in found.modules())
    assert_close(found(x), wanted, tolerance=0.0)
    before, after = dict(layer.named_parameters()), dict(found.named_parameters())
    assert before.keys() == after.keys() and layer.state_dict().keys() == found.state_dict().keys()
    assert all(after[k].requires_grad == p.requires_grad and torch.equal(after[k], p) for k, p in before.items())
    assert sorted(os.listdir(tmp_path / "a" / "b")) == [LAYERS, WEIGHTS]
    save(found, tmp_path / "again")  # what was loaded can be saved
    assert_close(load(tmp_path / "again")(x), wanted, tolerance=0.0)


def test_training_goes_on_where_it_was(tmp_path):
    deep, x = layers.Stack([both(4), cells.GRU(10, 3)]), torch.randn(SEQUENCE)
    deep(x)
    save(deep, tmp_path)
    found = load(tmp_path).train()
    grads = [torch.autograd.grad(m(x)[0].square().sum(), list(dict(sorted(m.named_parameters())).values()))
             for m in (deep, found)]
    assert_close(grads[1], grads[0])
    design = layers.OutputToHidden(4, 5, 6, layers.ExponentialDecay(0.5), seed=3)
    y = torch.zeros(3, 7, dtype=torch.long)
    for _ in range(3):
        design(x, y)
    save(design, tmp_path)
    again = load(tmp_path).train()
    assert isinstance(again, layers.OutputToHidden) and int(again.feedback.calls) == 3
    assert_close(again(x, y)[0], design(x, y)[0])  # the same share of the same steps


def test_a_fresh_process_without_the_class(tmp_path):
    class Mine(cells.Elman):
        def step(self, x, h):
            return torch.tanh(self.W(x) + self.U(h)) * 0.5 + h * 0.25

    deep, x = layers.Stack([Mine(4, 5), cells.GRU(5, 3)]).eval(), torch.randn(SEQUENCE)
    torch.save([x, deep(x)[0]], tmp_path / "expected.pt")
    save(deep, tmp_path / "model")
    code = f"""
import torch
from ostinato.layers import load
x, y = torch.load({str(tmp_path / "expected.pt")!r})
assert torch.equal(load({str(tmp_path / "model")!r})(x)[0], y)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class Foreign(nn.Module):
    batch_first = True

    def forward(self, x, *given):
        return x, ()


def shared() -> nn.Module:
    cell = cells.GRU(4, 4)
    return layers.Stack([cell, cell])


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: layers.Stack([Foreign()]), TypeError, "a Foreign cannot be saved, only Recurrent, Stack, .*state_dict"),
    (lambda: nn.LSTM(3, 5), TypeError, "a LSTM cannot be saved"),
    (lambda: layers.Stack([cells.GRU(4, 5)]), ValueError, "call the module once before saving it"),
    (shared, ValueError, r"layers\.0 and layers\.1 share a cell"),
    (lambda: layers.Feedback(cells.NARX(4, 5), lambda i: 0.5), ValueError, "a feedback that is a function cannot be"),
])  # fmt: skip
def test_what_cannot_be_saved(make, error, message, tmp_path):
    layer = make()
    if "feedback" in message:
        layer.eval()(torch.randn(SEQUENCE))
    with pytest.raises(error, match=message):
        save(layer, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.fixture
def saved(tmp_path):
    deep = layers.Stack([layers.TDNN(4, 4, 1), cells.GRU(4, 3)])
    deep(torch.randn(SEQUENCE))
    save(deep, tmp_path)
    return tmp_path


def forge(folder, change) -> None:
    """Change what is in the files, so that they still belong together."""
    description, tensors = read_model(folder / LAYERS, folder / WEIGHTS)
    change(description, tensors)
    write_model(folder / LAYERS, folder / WEIGHTS, description, tensors)


PART = "layer", "parts", "layers"


def within(description, *path):
    for key in path:
        description = description[key]
    return description


FORGERIES = {
    "a newer format": (lambda d, t: d.update(format=FORMAT + 1), "layers saved in format 2, this version .* reads 1"),
    "no format": (lambda d, t: d.pop("format"), "saved in format None"),
    "no layer": (lambda d, t: d.pop("layer"), "damaged: KeyError 'layer'"),
    "an unknown kind": (lambda d, t: d["layer"].update(kind="System"), "the kind 'System', known are Recurrent, Stack"),
    "a kind that is a list": (lambda d, t: d["layer"].update(kind=[]), "damaged"),
    "an unknown option": (lambda d, t: within(d, "layer", "options").update(depth=3), "damaged: TypeError"),
    "a bad option": (lambda d, t: within(d, "layer", "options").update(dropout=3), "dropout must be a probability"),
    "another width": (lambda d, t: within(d, *PART, 0, "options").update(output_size=9), "size mismatch"),
    "a huge width": (lambda d, t: within(d, *PART, 0, "options").update(output_size=10**13), "size mismatch"),
    "no parts": (lambda d, t: d["layer"].update(parts={}), "damaged: KeyError 'layers'"),
    "no tensor": (lambda d, t: t.pop("layers.0.W.bias"), r"there is no layers\.0\.W\.bias in it"),
    "no parameter": (lambda d, t: t.pop("layers.1.U.weight"), "damaged"),
    "a frozen nothing": (lambda d, t: within(d, *PART, 0)["frozen"].append("W.spring"), "damaged"),
    "another program": (lambda d, t: within(d, *PART, 1, "recurrent", "variants", 0).update(program={}), "program"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_forged(name, saved):
    change, message = FORGERIES[name]
    forge(saved, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


def test_what_is_damaged(saved):
    whole = {name: (saved / name).read_bytes() for name in (LAYERS, WEIGHTS)}
    for name, data in whole.items():
        last = data[:-1] + bytes([data[-1] ^ 1])
        for spoilt in (None, b"", data[: len(data) // 2], last, data.replace(b"1", b"2", 1)):
            (saved / name).unlink()
            if spoilt is not None:
                (saved / name).write_bytes(spoilt)
            with pytest.raises(ModelFileError, match=name):
                load(saved)
            (saved / name).write_bytes(data)
    load(saved)
    files.write_atomic(saved / LAYERS, json.dumps(json.loads(whole[LAYERS])).encode())  # other bytes, the same content
    with pytest.raises(ModelFileError, match="not the one that"):
        load(saved)


def test_what_cannot_be_written_leaves_what_was(saved, monkeypatch):
    before = {name: (saved / name).read_bytes() for name in (LAYERS, WEIGHTS)}
    deep = load(saved)
    with torch.no_grad():
        next(deep.parameters()).add_(1)

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written"):
        save(deep, saved)
    assert {name: (saved / name).read_bytes() for name in os.listdir(saved)} == before
