"""What ran and why; engines by name; strictness; and how far these reach."""

import asyncio
import threading

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger

from ostinato import FallbackError, Recurrent, engine, strict
from ostinato.engines.choice import chosen, is_strict, wanted
from ostinato.recurrent import Explanation


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
    assert (found.cell, found.engine, found.traced, found.products) == ("LSTM", "reference", True, 1)
    assert found.reason == "the only engine there is"
    assert found.bytes_saved is not None and 0 < found.bytes_saved <= 156  # what autograd keeps at this width
    assert found.parts["S"] > 5 and found.parts["X"] >= 1
    assert not found.linear["h"].linear and found.linear["C"] is not None
    text = str(found)
    for words in (
        "LSTM runs on the reference engine",
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


def test_an_engine_by_name():
    rnn = Recurrent(catalogue.build("gru"))
    x = catalogue.inputs(rnn.cell, 3, 2)
    with engine("reference"):
        inside = rnn(x)
        assert rnn.explain().reason == "asked for by name"
    assert rnn.explain().reason == "the only engine there is"
    assert_close(inside, rnn(x), tolerance=0.0)
    with pytest.raises(ValueError, match="no engine is called 'nope'; there are: reference"), engine("nope"):
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
    assert seen == [(False, None, "reference")]

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
