"""The verifier: what is not a program, each refused with the node, the operation and the reason."""

from __future__ import annotations

import json

import catalogue
import pytest
import torch
import torch.nn.functional as F
from oracle import Written, program_of, written

from ostinato.program import InvalidProgram, Program, from_json, to_json, verify
from ostinato.program.ir import Builder, Node, StateVar, finish
from ostinato.program.opaque import check_allowed

H = (4,)


def sound():
    """h' = tanh(x W + h U + cat(h, x)), y = h, as lists that a test spoils."""
    b = Builder()
    h, x = b.leaf("read", H, state="h", delay=1), b.leaf("x", H, name="x")
    U = b.leaf("p", (4, 4), name="U")
    joined = b.add("cat", h, x, dim=-1).slice(dim=-1, start=2, stop=6)
    return finish(b, [StateVar("h", H, 2)], {"h": (h.matmul(U) + joined).tanh()}, {"y": x.sum(dims=(-1,))})


def changed(program=None, at=0, **fields):
    """The program with one node's fields changed."""
    program = program or sound()
    nodes = list(program.nodes)
    node = nodes[at]
    values = {"op": node.op, "args": node.args, "attrs": node.attrs, "shape": node.shape, "dtype": node.dtype} | fields
    if isinstance(values["attrs"], dict):
        values["attrs"] = tuple(sorted((dict(node.attrs) | values["attrs"]).items()))
    nodes[at] = Node(*values.values(), source="cell.py:7: the line")
    return Program(tuple(nodes), program.states, program.next, program.emit, program.tensors)


def at(op):
    return next(i for i, n in enumerate(sound().nodes) if n.op == op)


def opaque(name, call=("{", "args", (("{", "arg", 0, "batch", 1),), "kwargs", ("{",)), on="x", shape=H, **attrs):
    b = Builder()
    h, x = b.leaf("read", H, state="h", delay=1), b.leaf("x", H, name="x")
    out = b.opaque(f"aten:{name}", [h if on == "h" else x], shape, "float", **{
        "call": call, "result": 0, "results": 1} | attrs)
    return finish(b, [StateVar("h", H, 1)], {"h": h + out}, {"y": out})


def with_text(item):
    return ("{", "args", (("{", "arg", 0, "batch", 1), item), "kwargs", ("{",))


def over_time(op, inside):
    b = Builder()
    h, x = b.leaf("read", H, state="h", delay=1), b.leaf("x", H, name="x")
    total = getattr(x, op)() if op != "gemm_tb" else x.gemm_tb(x, grouped=False).sum(dims=(-1,)).reshape(shape=H)
    return finish(b, [StateVar("h", H, 1)], {"h": h + total if inside else h}, {"y": total})


def product_by_state():
    b = Builder()
    h, x = b.leaf("read", (4, 4), state="h", delay=1), b.leaf("x", H, name="x")
    return finish(b, [StateVar("h", (4, 4), 1)], {"h": h}, {"y": x.matmul(h)})


def product_by_input():
    b = Builder()
    h, x, w = b.leaf("read", H, state="h", delay=1), b.leaf("x", H, name="x"), b.leaf("x", (4, 4), name="w")
    return finish(b, [StateVar("h", H, 1)], {"h": h}, {"y": x.matmul(w)})


def parts(states=None, next=None, emit=None):
    p = sound()
    return Program(p.nodes, p.states if states is None else states, p.next if next is None else next,
                   p.emit if emit is None else emit)


INVALID = {
    "an unknown operation": (lambda: changed(at=at("tanh"), op="eval"), "is not an operation of a program"),
    "a forward reference": (lambda: changed(at=at("matmul"), args=(9, 1)), "takes nodes (9, 1), which are not before"),
    "itself": (lambda: changed(at=at("tanh"), args=(at("tanh"),)), "which are not before it"),
    "a negative reference": (lambda: changed(at=at("tanh"), args=(-1,)), "which are not before it"),
    "a fractional reference": (lambda: changed(at=at("tanh"), args=(1.0,)), "which are not before it"),
    "a bool reference": (lambda: changed(at=at("tanh"), args=(True,)), "which are not before it"),
    "a wrong shape": (lambda: changed(at=at("tanh"), shape=(5,)), "gives float[4], not float[5]"),
    "a wrong rank": (lambda: changed(at=at("sum"), shape=()), "gives float[1], not float[]"),
    "a negative shape": (lambda: changed(at=at("x"), shape=(-4,)), "is float[-4]"),
    "a fractional shape": (lambda: changed(at=at("x"), shape=(4.0,)), "is float[4.0]"),
    "a wrong dtype": (lambda: changed(at=at("tanh"), dtype="int"), "gives float[4], not int[4]"),
    "no dtype at all": (lambda: changed(at=at("x"), dtype="complex"), "is complex[4]"),
    "a missing attribute": (lambda: changed(at=at("slice"), attrs=(("dim", -1), ("start", 2))), "takes the attributes"),
    "an extra attribute": (lambda: changed(at=at("tanh"), attrs={"dim": -1}), "takes the attributes ()"),
    "an extra attribute of a leaf": (lambda: changed(at=at("x"), attrs={"dim": -1}), "takes ['name'] and no nodes"),
    "a missing argument": (lambda: changed(at=at("add"), args=(0,)), "takes 2 nodes, it has 1"),
    "no arguments": (lambda: changed(at=at("cat"), args=()), "nodes, it has 0"),
    "an extra argument": (lambda: changed(at=at("tanh"), args=(0, 0)), "takes 1 nodes, it has 2"),
    "arguments of a leaf": (lambda: changed(at=at("x"), args=(0,)), "and no nodes"),
    "a positive dimension": (lambda: changed(at=at("cat"), attrs={"dim": 0}), "cannot have dim=0"),
    "a dimension too far": (lambda: changed(at=at("cat"), attrs={"dim": -2}), "is not one of the 1 feature dimensions"),
    "a fractional dimension": (lambda: changed(at=at("sum"), attrs={"dims": (-1.0,)}), "cannot have dims=(-1.0,)"),
    "a dimension twice": (lambda: changed(at=at("sum"), attrs={"dims": (-1, -1)}), "cannot have dims=(-1, -1)"),
    "a slice too long": (lambda: changed(at=at("slice"), attrs={"stop": 9}), "slice 2:9 of a dimension of 8"),
    "a slice backwards": (lambda: changed(at=at("slice"), attrs={"start": 7}), "slice 7:6 of a dimension of 8"),
    "a fractional slice": (lambda: changed(at=at("slice"), attrs={"start": 2.0}), "cannot have start=2.0"),
    "code in an attribute": (lambda: changed(at=at("slice"), attrs={"start": "__import__('os')"}), "cannot have start"),
    "shapes that do not fit": (lambda: changed(at=at("add"), args=(at("matmul"), at("cat"))), "do not broadcast"),
    "a product that does not fit": (lambda: changed(at=at("matmul"), args=(at("read"), at("x"))), "a product of (4,)"),
    "a product by a state": (product_by_state, "a product must be by a parameter"),
    "a product by an input": (product_by_input, "a product must be by a parameter"),
    "a read beyond the depth": (lambda: changed(at=at("read"), attrs={"delay": 3}), "reads 'h' at delay 3"),
    "a read of now": (lambda: changed(at=at("read"), attrs={"delay": 0}), "reads 'h' at delay 0"),
    "a read of no state": (lambda: changed(at=at("read"), attrs={"state": "g"}), "reads 'g' at delay 1"),
    "a read of another shape": (lambda: changed(at=at("read"), shape=(3,)), "reads 'h' at delay 1 as [3]"),
    "a read of integers": (lambda: changed(at=at("read"), dtype="int"), "reads 'h'"),
    "a state without a next value": (lambda: parts(next={}), "needs the next value of each of its states"),
    "a next value without a state": (lambda: parts(states=()), "needs the next value of each of its states"),
    "a state twice": (lambda: parts(states=sound().states * 2), "each state once"),
    "a state without depth": (lambda: parts(states=(StateVar("h", H, 0),)), "is not a state"),
    "a state of fractions": (lambda: parts(states=(StateVar("h", (4.0,), 1),)), "is not a state"),  # type: ignore[arg-type]
    "a next value of another shape": (lambda: parts(next={"h": at("cat")}), "the next 'h' is float[8]"),
    "a next value that is not there": (lambda: parts(next={"h": 99}), "'h' is node 99, of"),
    "an emit that is not there": (lambda: parts(emit={"y": -1}), "'y' is node -1, of"),
    "an emit that is no number": (lambda: parts(emit={"y": 1.0}), "'y' is node 1.0, of"),
    "one name twice": (lambda: changed(at=at("x"), op="q", attrs={"name": "U"}), "two inputs have one name"),
    "a name that is none": (lambda: changed(at=at("x"), attrs={"name": 3}), "an input's name is a string"),
    "a sum over time in the loop": (lambda: over_time("sum_tb", True), "sums over time inside the loop"),
    "a product over time in the loop": (lambda: over_time("gemm_tb", True), "sums over time inside the loop"),
    "an opaque operation in the loop": (lambda: opaque("sort", on="h"), "not an operation that a loop can contain"),
    "an opaque operation of no name": (lambda: opaque(""), "is not an operation of torch"),
    "an opaque operation of no torch": (lambda: opaque("system"), "is not an operation of torch"),
    "an attribute of torch": (lambda: opaque("__class__"), "is not an operation of torch"),
    "an operation in place": (lambda: opaque("add_.Tensor"), "changes its arguments or looks at raw memory"),
    "an operation with out=": (lambda: opaque("add.out"), "changes its arguments or looks at raw memory"),
    "as_strided": (lambda: opaque("as_strided"), "raw memory"),
    "new_empty_strided": (lambda: opaque("new_empty_strided"), "raw memory"),
    "from_file": (lambda: opaque("from_file"), "raw memory"),
    "set_data": (lambda: opaque("set_data"), "raw memory"),
    "resize": (lambda: opaque("resize_as"), "raw memory"),
    "a name in an operation": (lambda: opaque("einsum"), "takes names"),
    "random numbers": (lambda: opaque("rand_like"), "draws random numbers"),
    "batch norm": (lambda: opaque("native_batch_norm"), "mixes the sequences"),
    "text as an argument": (lambda: opaque("div.Tensor_mode", with_text("floor")), "is called with 'floor'"),
    "text inside an argument": (lambda: opaque("div.Tensor", with_text((1, "import"))), "is called with 'import'"),
    "an opaque argument that is not there": (lambda: opaque("exp", ("{", "args", (("{", "arg", 1, "batch", 1),),
                                                                    "kwargs", ("{",))), "uses the nodes [1] of 1"),
    "too many opaque arguments": (lambda: opaque("exp", with_text(1)), "takes ['self']"),
    "an opaque keyword": (lambda: opaque("exp", ("{", "args", (("{", "arg", 0, "batch", 1),), "kwargs", (
        "{", "out", 1))), "takes ['self']"),
    "an opaque call that is none": (lambda: opaque("exp", ("args",)), "needs args and kwargs"),
    "an opaque result too far": (lambda: opaque("sort", result=2, results=2), "gives result 2 of 2"),
    "an opaque attribute": (lambda: opaque("exp", more=1), "takes call, result and results"),
    "a constant that is text": (lambda: constant("1"), "a constant is one number"),
    "a constant that is a fraction": (lambda: constant(0.5, "int"), "a constant is one number"),
    "a constant of a shape": (lambda: constant(0.5, shape=(2,)), "a constant is one number"),
    "noise of no kind": (lambda: noise(kind="cauchy", number=1), "noise of kind 'cauchy'"),
    "noise without a chance": (lambda: noise(kind="bernoulli", number=1), "takes ['kind', 'number', 'p']"),
    "noise of a chance above one": (lambda: noise(kind="bernoulli", number=1, p=2.0), "noise of kind"),
    "choosing by a number": (lambda: changed(_where(), at=-1, args=(0, 0, 0)), "chooses by a bool"),
}


def _where():
    b = Builder()
    h = b.leaf("read", H, state="h", delay=1)
    return finish(b, [StateVar("h", H, 1)], {"h": h.gt(h).where(h, h)}, {})


def constant(value, dtype="float", shape=()):
    b = Builder()
    h = b.leaf("read", H, state="h", delay=1)
    return finish(b, [StateVar("h", H, 1)], {"h": h}, {"y": b.leaf("const", shape, dtype, value=value)})


def noise(**attrs):
    b = Builder()
    h = b.leaf("read", H, state="h", delay=1)
    return finish(b, [StateVar("h", H, 1)], {"h": h + b.leaf("noise", H, **attrs)}, {})


@pytest.mark.parametrize("name", INVALID)
def test_what_is_not_a_program(name):
    """Refused as it stands, and as JSON; the message says where."""
    make, words = INVALID[name]
    program = make()
    with pytest.raises(InvalidProgram) as refusal:
        verify(program)
    assert words in str(refusal.value)
    with pytest.raises(InvalidProgram):
        from_json(json.loads(json.dumps(to_json(program))))


def test_a_refusal_names_the_node_the_operation_and_the_line():
    with pytest.raises(InvalidProgram) as refusal:
        verify(changed(at=at("tanh"), shape=(5,)))
    assert str(refusal.value) == (f"node {at('tanh')}, tanh: gives float[4], not float[5] (cell.py:7: the line)")


def test_what_is_a_program():
    for program in (sound(), opaque("sort.default", with_text(-1), results=2), over_time("sum_t", False),
                    over_time("sum_tb", False), constant(0.5), constant(3, "int"), constant(True, "bool"),
                    noise(kind="normal", number=1), noise(kind="bernoulli", number=1, p=0.5), _where()):
        verify(program)


def test_constants_have_their_shapes():
    cell = written(lambda c, x, h: torch.tanh(h @ c.U) + x @ c.W * c.fixed, fixed=torch.arange(4.0))
    program = program_of(cell)
    data, (name,) = to_json(program), program.tensors
    assert from_json(data, dict(program.tensors)).nodes == program.nodes
    with pytest.raises(InvalidProgram, match=r"is \[3\], not \[4\]"):
        from_json(data, {name: torch.zeros(3)})
    with pytest.raises(InvalidProgram, match=name):
        from_json(data, {})


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_cell_is_a_program(name):
    verify(program_of(catalogue.build(name)))


OPAQUE = {
    "embedding": (lambda c, k, h: h + F.embedding(k, c.W), torch.int64),
    "conv1d": (lambda c, x, h: h + F.conv1d(x[:, None], c.W.t()[:, None]).squeeze(-1), torch.float64),
    "sort": (lambda c, x, h: h + x.sort(-1, descending=True)[0] @ c.W, torch.float64),
    "matrix_exp": (lambda c, x, h: h @ torch.matrix_exp(c.U) + x @ c.W, torch.float64),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_opaque_operations_are_verified_too(name):
    from ostinato.program import InputSpec, Signature, trace

    step, dtype = OPAQUE[name]
    spec = InputSpec((3,) if dtype.is_floating_point else (), dtype)
    cell = Written(step, {"h": 4}, {"W": (3, 4), "U": (4, 4)})
    program = trace(cell, Signature((spec,), (), torch.float64, torch.device("cpu")))
    assert any(n.op.startswith("aten:") for n in program.nodes)
    verify(program)
    assert from_json(json.loads(json.dumps(to_json(program)))).nodes == program.nodes


def test_no_operation_that_may_run_changes_or_names_anything():
    """Over all of torch: what may be asked for is functional."""
    allowed = 0
    for full in torch._C._dispatch_get_all_op_names():
        if full.startswith("aten::") and check_allowed(name := full.removeprefix("aten::")) is None:
            packet, _, overload = name.partition(".")
            schema = getattr(getattr(torch.ops.aten, packet), overload or "default")._schema
            assert not schema.is_mutable
            assert not any(a.alias_info and a.alias_info.is_write for a in schema.arguments)
            assert "file" not in name and "storage" not in name, name
            allowed += 1
    assert allowed > 300
