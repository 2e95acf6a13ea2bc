"""Save and load: a fresh process without the user's class predicts the same bits; a damaged file is one clear line."""

import errno
import json
import os
import pickle
import subprocess
import sys

import catalogue
import pytest
import safetensors.torch
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger, Tied, gradients
from torch import nn

from ostinato import Cell, ModelFileError, Recurrent, cells, load, save

USER = """
import torch
from torch import nn
from ostinato import Cell, Recurrent, save

class Mine(Cell):
    "h[t] = (1 - a) h[t-1] + a tanh(W x[t] + U h[t-3] + E[word] + V c + s), W and U tied, s a buffer, dropout on x"

    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.U.weight = self.W.weight
        self.E, self.V = nn.Embedding(5, 4), nn.Linear(2, 4)
        self.V.bias.requires_grad_(False)
        self.a = nn.Parameter(torch.tensor(0.3))
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("s", torch.linspace(-0.2, 0.2, 4))
        self.shift = torch.linspace(0, 1, 4)
        self.add_state("h", 4, delays=(1, 3), initial=0.125)

    def step(self, x, word, h, h3, c):
        new = torch.tanh(self.W(self.dropout(x)) + self.U(h3) + self.E(word) + self.V(c) + self.s)
        h = (1 - self.a) * h + self.a * new
        return h, h * self.shift

torch.manual_seed(0)
rnn = Recurrent(Mine())
x, words, c = torch.randn(3, 6, 4), torch.randint(5, (3, 6)), torch.randn(3, 2)
optimiser = torch.optim.Adam([p for p in rnn.parameters() if p.requires_grad], 0.01)
for _ in range(3):
    optimiser.zero_grad()
    rnn((x, words), constants=c, lengths=[6, 0, 3])[0].square().sum().backward()
    optimiser.step()
save(rnn, FOLDER)
rnn.eval()
stream, states = rnn.stream(constants=c), None
outputs, ends = rnn((x, words), constants=c, lengths=[6, 0, 3])
pieces = [stream((x[:, a:b], words[:, a:b])) for a, b in ((0, 1), (1, 6))]
step = rnn.step((x[:, 0], words[:, 0]), constants=c)
rnn.zero_grad()
rnn((x, words), constants=c)[0].sum().backward()
grads = {k: p.grad for k, p in rnn.named_parameters() if p.grad is not None}
torch.save([x, words, c, outputs, ends, pieces, step, grads], FOLDER + "/expected.pt")
"""

FRESH = """
import sys
import torch
from ostinato import Recurrent, load

x, words, c, outputs, ends, pieces, step, grads = torch.load(FOLDER + "/expected.pt", weights_only=False)
rnn = load(FOLDER)
found = rnn((x, words), constants=c, lengths=[6, 0, 3])
assert torch.equal(found[0], outputs) and torch.equal(found[1][0], ends[0])
stream = rnn.stream(constants=c)
assert all(torch.equal(stream((x[:, a:b], words[:, a:b])), p) for (a, b), p in zip(((0, 1), (1, 6)), pieces))
mine = rnn.step((x[:, 0], words[:, 0]), constants=c)
assert torch.equal(mine[0], step[0]) and torch.equal(mine[1][0], step[1][0])
rnn((x, words), constants=c)[0].sum().backward()
own = {k: p.grad for k, p in rnn.named_parameters() if p.grad is not None}
assert own.keys() == grads.keys() and all(torch.allclose(own[k], grads[k], rtol=1e-6) for k in own), (own, grads)
assert [k for k, p in rnn.named_parameters() if not p.requires_grad] == ["cell.V.bias"]
rnn.train()
assert not torch.equal(rnn((x, words), constants=c)[0], rnn((x, words), constants=c)[0])
assert "ostinato.cells.lstm" in sys.modules and "Mine" not in dir(sys.modules["__main__"])
"""


def _run(code, folder):
    text = code.replace("FOLDER", repr(str(folder)))
    return subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, timeout=120)


def test_a_fresh_process_without_the_class(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(USER.replace("FOLDER", repr(str(tmp_path))))
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    script.unlink()
    done = _run(FRESH, tmp_path)
    assert done.returncode == 0, done.stderr


CELLS = {
    **{name: (lambda name=name: catalogue.build(name)) for name in catalogue.NAMES},
    "fibre": Fibre,
    "tied": Tied,
}


@pytest.mark.parametrize("cell", CELLS)
def test_loaded_equals_saved(cell, tmp_path):
    rnn = Recurrent(CELLS[cell](), batch_first=False, reverse=cell == "lstm", save="recompute").eval()
    x = catalogue.inputs(rnn.cell, 5, 3, time_first=True).requires_grad_()
    initial = [v.requires_grad_() for v in catalogue.initial(rnn.cell, 3)]
    given = {"lengths": [5, 0, 2], "reset": torch.eye(5, 3, dtype=torch.bool)}
    wanted = rnn(x, initial, **given, return_all_states=True)
    save(rnn, tmp_path / "a" / "b")
    other = load(tmp_path / "a" / "b")
    found = other(x, initial, **given, return_all_states=True)
    assert_close(found, wanted, tolerance=0.0)
    names = [name for name, _ in rnn.named_parameters()]
    assert sorted(names) == sorted(name for name, _ in other.named_parameters())
    ours, theirs = ([r[0], *r[1]] for r in (found, wanted))
    assert_close(
        gradients(ours, [x, *initial, *(other.get_parameter(n) for n in names)]),
        gradients(theirs, [x, *initial, *(rnn.get_parameter(n) for n in names)]),
    )
    assert (other.batch_first, other.reverse, other.save_policy) == (False, rnn.reverse, "recompute")
    assert other.cell.states == rnn.cell.states
    assert other.traces == 0
    save(other, tmp_path / "again")
    assert_close(load(tmp_path / "again")(x, initial, **given, return_all_states=True), wanted, tolerance=0.0)
    assert {p.name for p in (tmp_path / "again").iterdir()} == {"program.json", "model.safetensors"}


@pytest.mark.parametrize("cell", ["lstm", "skip-two", "fibre", "slstm"])
def test_the_step_of_a_loaded_cell(cell, tmp_path):
    rnn = Recurrent(CELLS[cell]())
    x = catalogue.inputs(rnn.cell, 1, 3)
    rnn(x)
    save(rnn, tmp_path)
    other = load(tmp_path)
    states = catalogue.initial(rnn.cell, 3)
    reads = [v[:, -d] if s.depth > 1 else v for s, v in zip(rnn.cell.states, states, strict=True) for d in s.delays]
    wanted, output = rnn.cell.split_result(rnn.cell(x[:, 0], *reads))
    found, found_output = other.cell.split_result(other.cell(x[:, 0], *reads))
    assert_close([*found, found_output], [*wanted, output])
    assert type(rnn.cell).__name__ in repr(other)


def test_other_dtypes_sizes_and_kinds_of_input(tmp_path):
    rnn = Recurrent(Tagger())
    words, x = torch.arange(12).reshape(3, 4) % 6, torch.randn(3, 4, 3, dtype=torch.float64)
    c = torch.randn(3, 2, dtype=torch.float64)
    wanted = rnn((words, x), constants=c)
    with pytest.raises(RuntimeError):
        rnn((words, x[..., :2]), constants=c)  # a wrong call does not spoil what is saved
    save(rnn, tmp_path)
    other = load(tmp_path)
    assert_close(other((words.int(), x), constants=c), wanted, tolerance=0.0)
    assert_close(
        other.float()((words, x.float()), constants=c.float()), rnn.float()((words, x.float()), constants=c.float())
    )
    assert other((words[:0], x[:0].float()), constants=c[:0].float())[0].shape == (0, 4, 4)


def test_a_loaded_one_is_told_apart_from_what_it_cannot_do(tmp_path):
    rnn = Recurrent(catalogue.build("gru"))
    rnn(catalogue.inputs(rnn.cell, 2, 2))
    save(rnn, tmp_path)
    other = load(tmp_path)
    with pytest.raises(
        Exception, match=r"the saved GRU has no program for inputs float\[2\].* it was saved for float\[3\]"
    ):
        other(torch.zeros(2, 2, 2, dtype=torch.float64))


class Modes(Cell):
    """Dropout on the input; a part that stays in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.W, self.drop, self.frozen = nn.Linear(3, 3), nn.Dropout(0.5), nn.Dropout(0.5).eval()
        self.add_state("h", 3)
        self.double()

    def step(self, x, h):
        return torch.tanh(self.W(self.drop(x)) + h)


def test_saving_changes_no_mode(tmp_path):
    rnn = Recurrent(Modes())
    x = catalogue.inputs(rnn.cell, 4, 2)
    rnn(x)
    before = [(name, m.training) for name, m in rnn.named_modules()]
    save(rnn, tmp_path)
    assert [(name, m.training) for name, m in rnn.named_modules()] == before
    other = load(tmp_path)
    assert not other.training
    assert_close(other(x), rnn.eval()(x), tolerance=0.0)
    torch.manual_seed(1)
    first = other.train()(x)[0]
    torch.manual_seed(1)
    assert_close(first, rnn.train()(x)[0], tolerance=0.0)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="call the module once before saving it"):
        save(Recurrent(cells.GRU(2, 3)), tmp_path / "new")
    rnn = Recurrent(Stubborn())
    rnn(catalogue.inputs(rnn.cell, 2, 2))
    with pytest.raises(ValueError, match=r"Stubborn cannot be saved, its step has no program: .*loops.py"):
        save(rnn, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def saved(tmp_path):
    rnn = Recurrent(catalogue.build("lstm"))
    rnn(catalogue.inputs(rnn.cell, 2, 2))
    save(rnn, tmp_path)
    return tmp_path


def _edit(change):
    """Change program.json, and make the weights' file believe it: then only the program's own checks are left."""

    def damage(folder):
        from ostinato.recurrent.files import read_model, write_model

        paths = folder / "program.json", folder / "model.safetensors"
        description, tensors = read_model(*paths)
        change(description)
        write_model(*paths, description, tensors)

    return damage


def _node(op):
    return lambda d: next(n for n in d["variants"][0]["program"]["nodes"] if n[0] == op)


def _text(old, new):
    def damage(folder):
        path = folder / "program.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def _pickles(folder):
    for name in ("program.json", "model.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))


def _truncate(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def _other_weights(folder):
    safetensors.torch.save_file({"W.weight": torch.zeros(2)}, folder / "model.safetensors")


DAMAGE = {
    "no program": (lambda f: (f / "program.json").unlink(), r"program.json: .*[Nn]o such file"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model.safetensors: .*[Nn]o such file"),
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] and f.rmdir(), "[Nn]o such file"),
    "empty": (_truncate("program.json", 0), "program.json .*not JSON"),
    "truncated program": (_truncate("program.json", 500), "program.json .*not JSON"),
    "truncated weights": (_truncate("model.safetensors", 300), "model.safetensors .*damaged"),
    "no weights left": (_truncate("model.safetensors", 0), "model.safetensors .*damaged"),
    "a list": (lambda f: (f / "program.json").write_text("[]"), "program.json .*not"),
    "another's weights": (_other_weights, "model.safetensors .*(damaged|not a file)"),
    "edited": (_text('"batch_first": true', '"batch_first": false'), "program.json .*damaged"),
    "pickles": (_pickles, "program.json .*not JSON"),
    "format": (_edit(lambda d: d.update(format=99)), "saved in format 99, this version of Ostinato reads 1"),
    "no format": (_edit(lambda d: d.pop("format")), "saved in format None"),
    "no states": (_edit(lambda d: d.pop("states")), "damaged: .*states"),
    "states": (_edit(lambda d: d.update(states=3)), "damaged"),
    "other states": (_edit(lambda d: d["states"][0].__setitem__(1, [7])), "other states than the cell"),
    "fewer states": (_edit(lambda d: d["states"].pop()), "other states than the cell"),
    "an unknown parameter": (_edit(lambda d: d["parameters"].append("Z")), "damaged: .*Z"),
    "a parameter less": (_edit(lambda d: d["parameters"].remove("W.bias")), "damaged: .*W.bias"),
    "a name with dots": (_edit(lambda d: d["parameters"].append("__class__.x")), "damaged"),
    "operation": (_edit(lambda d: _node("tanh")(d).__setitem__(0, "system")), "system: is not an operation"),
    "aten": (_edit(lambda d: _node("tanh")(d).__setitem__(0, "aten:from_file")), "node"),
    "shape": (_edit(lambda d: _node("tanh")(d).__setitem__(3, [6])), "node .*tanh: gives"),
    "argument": (_edit(lambda d: _node("tanh")(d).__setitem__(1, [999])), "node .*not before it"),
    "next": (_edit(lambda d: d["variants"][0]["program"]["next"].update(h=10**6)), "of"),
    "no output": (_edit(lambda d: d["variants"][0]["program"]["emit"].pop("output")), "a program gives"),
    "program format": (_edit(lambda d: d["variants"][0]["program"].update(format=2)), "format 1, found 2"),
    "dtype": (
        _edit(lambda d: d["variants"][0]["inputs"][0].__setitem__(1, "complex64")),
        "inputs of dtype 'complex64'",
    ),
    "save": (_edit(lambda d: d.update(save="everything")), "save must be"),
    "no variants": (_edit(lambda d: d.update(variants=[])), "no program in it"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_one_clear_line(kind, saved, monkeypatch):
    damage, words = DAMAGE[kind]
    monkeypatch.setenv("BOMB", str(saved / "exploded"))
    damage(saved)
    with pytest.raises(ModelFileError, match=words) as caught:
        load(saved)
    assert len(str(caught.value).splitlines()) == 1
    assert not (saved / "exploded").exists()


def test_a_folder_without_permission(saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ValueError, match=r"program.json.*: cannot be written \(Permission denied\)"):
        save(load(saved), saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_a_file_in_the_folders_place(saved):
    (saved / "file").write_text("")
    with pytest.raises(ValueError, match="file: cannot be written"):
        save(load(saved), saved / "file")


@pytest.mark.parametrize("at", range(1, 5))
def test_a_full_disk_leaves_what_was_there(at, saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    rnn = load(saved)
    with torch.no_grad():
        for p in rnn.parameters():
            p.add_(1.0)
    calls = [0]

    def full(descriptor):
        calls[0] += 1
        if calls[0] == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    try:
        save(rnn, saved)
    except ValueError as error:
        assert "No space left" in str(error)
    monkeypatch.undo()
    after = {p.name: p.read_bytes() for p in saved.iterdir()}
    assert set(after) == set(before)
    load(saved)
    if at < 3:  # before either file has its name
        assert after == before


def test_json_only_and_no_code(saved):
    data = json.loads((saved / "program.json").read_text())
    assert data["cell"] == "LSTM"
    with safetensors.safe_open(saved / "model.safetensors", "pt") as file:
        assert set(file.keys()) == {"U.weight", "W.bias", "W.weight"}
