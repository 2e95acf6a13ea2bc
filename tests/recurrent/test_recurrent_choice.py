"""What ran and why; engines by name; strictness; and how far these reach."""

import asyncio
import re
import threading

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger

from ostinato import Cell, FallbackError, Recurrent, engine, strict
from ostinato.engines.choice import chosen, is_strict, wanted
from ostinato.engines.cpu import unavailable
from ostinato.recurrent import Explanation

native = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")


@native
def test_explain_a_traced_cell():
    rnn = Recurrent(catalogue.build("lstm", hidden_size=6))
    with pytest.raises(ValueError, match=r"nothing to explain yet: call the module, or give explain\(\) an input"):
        rnn.explain()
    x = catalogue.inputs(rnn.cell, 3, 2)
    before = rnn.explain(x)
    rnn(x)
    found = rnn.explain()
    assert isinstance(found, Explanation)
    assert found == before
    assert (found.cell, found.engine, found.traced, found.products) == ("LSTM", chosen(), True, 1)
    assert found.reason == "preferred"
    assert found.isa and found.threads == torch.get_num_threads()
    assert found.bytes_saved is not None and 0 < found.bytes_saved <= 156  # what autograd keeps at this width
    assert found.parts["S"] > 5 and found.parts["X"] >= 1
    assert not found.linear["h"].linear and found.linear["C"] is not None
    text = str(found)
    for words in (
        "LSTM runs on the cpu engine: preferred",
        f"instructions: {found.isa}; threads: {found.threads}",
        "1 matrix product(s) in the loop",
        "bytes per sequence",
        "state h: not linear in its past: ",
    ):
        assert words in text
    assert rnn.traces == 1


def test_explain_says_what_is_saved():
    kept = {save: Recurrent(catalogue.build("lstm"), save=save) for save in (None, "recompute", 120)}
    x = catalogue.inputs(kept[None].cell, 1, 1)
    sizes = {save: rnn.explain(x).bytes_saved or 0 for save, rnn in kept.items()}
    assert 0 < sizes["recompute"] <= sizes[120] <= 120 <= sizes[None]


def test_explain_what_cannot_be_traced():
    rnn = Recurrent(Stubborn())
    found = rnn.explain(catalogue.inputs(rnn.cell, 3, 2))
    assert (found.traced, found.engine, found.bytes_saved, found.products) == (False, "reference", None, None)
    assert "step by step in Python, since the step cannot be traced: " in str(found)
    assert "loops.py:" in found.reason and "return h / 2 if float(" in found.reason


def test_explain_several_inputs_and_linear_states():
    rnn = Recurrent(Tagger())
    words, x = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, 3, dtype=torch.float64)
    assert rnn.explain((words, x), constants=torch.zeros(2, 2, dtype=torch.float64)).parts["Q"] >= 1
    fibre = Recurrent(Fibre())
    assert fibre.explain(catalogue.inputs(fibre.cell, 1, 1)).linear["k"].linear is False


@native
def test_an_engine_by_name():
    rnn = Recurrent(catalogue.build("gru"))
    x = catalogue.inputs(rnn.cell, 3, 2)
    with engine("reference"):
        inside = rnn(x)
        assert rnn.explain().reason == "asked for by name"
        assert (rnn.explain().engine, rnn.explain().isa) == ("reference", None)
    assert rnn.explain().reason == "preferred"
    assert_close(inside, rnn(x))
    with pytest.raises(ValueError, match="no engine is called 'nope'; there are: cpu, reference"), engine("nope"):
        pytest.fail("it was accepted")
    assert wanted() is None


def test_strict():
    rnn, fine = Recurrent(Stubborn()), Recurrent(catalogue.build("gru"))
    x = catalogue.inputs(rnn.cell, 3, 2)
    with strict():
        fine(x)
        with pytest.raises(FallbackError, match=r"Stubborn would run step by step: .*\(loops.py:\d+: return h / 2"):
            rnn(x)
    rnn(x)  # found untraceable before: still refused where it matters, and run where it does not
    with strict(), pytest.raises(FallbackError):
        rnn(x)


class Counting(Cell):
    """h[t] = h[t-1] + x[t], for whole numbers x."""

    def __init__(self):
        super().__init__()
        self.add_state("h", 2)

    def step(self, x, h):
        return h + x


@native
def test_a_loop_that_the_preferred_engine_refuses():
    """It runs on the next engine, which says why; asked for by name, or under strict(), that is an error."""
    rnn, x = Recurrent(Counting()), torch.arange(12).reshape(2, 3, 2)
    assert_close(rnn(x)[0], x.cumsum(1).float())
    found = rnn.explain()
    assert (found.engine, found.traced, found.isa) == ("reference", True, None)
    why = r"the cpu engine cannot run it: takes whole numbers as an input \(.*: return h \+ x\)"
    assert re.search(why, found.reason)
    for context in (strict, lambda: engine("cpu")):
        with context(), pytest.raises(FallbackError, match="the cpu engine cannot run it: takes whole numbers"):
            rnn(x)
    with strict(), engine("reference"):
        rnn(x)


@native
def test_other_dtypes_and_devices_run_elsewhere():
    rnn = Recurrent(catalogue.build("gru", torch.bfloat16))
    assert "it is of bfloat16" in rnn.explain(torch.zeros(1, 2, 3, dtype=torch.bfloat16)).reason
    assert rnn.explain().engine == "reference"


def test_contexts_end_with_what_they_hold():
    for context, state in ((lambda: engine("reference"), wanted), (strict, is_strict)):
        before = state()
        with pytest.raises(KeyError), context():
            with context():
                pass
            assert state() != before
            raise KeyError
        assert state() == before


def test_contexts_are_of_one_thread_and_one_task():
    seen = []
    with strict(), engine("reference"):
        thread = threading.Thread(target=lambda: seen.append((is_strict(), wanted(), chosen())))
        thread.start()
        thread.join()
    assert seen == [(False, None, "cpu")]

    async def inside(started, go):
        with strict():
            started.set()
            await go.wait()
            return is_strict()

    async def outside(started, go):
        await started.wait()
        found = is_strict()
        go.set()
        return found

    async def both():
        started, go = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(inside(started, go), outside(started, go))

    assert asyncio.run(both()) == [True, False]
