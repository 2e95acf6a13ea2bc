# pyright: reportArgumentType=false
"""The native library, against the reference engine: every loop that a call runs is compared (``comparing.py``)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch
from close import assert_close
from comparing import compared, native, only, trained
from hypothesis import HealthCheck, given, settings
from oracle import assert_as_by_steps
from test_derivative import NAMES, _program, _three_orders, _through_plan, _values
from test_random_programs import _cell, expression
from torch import Tensor

from ostinato.engines.cpu import CPU, library
from ostinato.engines.cpu.library import Library, Unavailable
from ostinato.engines.reference import Reference
from ostinato.program.sizes import Sizes

pytestmark = [native, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]
WIDTHS = [1, 7, 30, 100]


@pytest.mark.parametrize("name", catalogue.NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells(name, dtype):
    with only(compared(CPU)) as engine:
        for k, width in enumerate(WIDTHS):
            # A single unit has no projection, and the noise of its difference from its own mean is all there is.
            width += 1 if width == 1 and name in ("lstm-projected", "lstm-layernorm", "gru-layernorm") else 0
            cell = catalogue.build(name, dtype, hidden_size=width)
            trained(cell, *[(1, 1), (5, 1), (4, 7), (3, 20)][k], reverse=k % 2 == 1)
    assert len(engine.seen) >= 6


@pytest.mark.parametrize("name", ["lstm", "gru-before", "skip-two", "slstm", "lstm-layernorm"])
def test_masks_resets_lengths_and_second_order(name):
    flags = torch.rand(3, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    with only(compared(CPU)) as engine:
        cell = catalogue.build(name)
        trained(cell, 5, 3, mask=flags)
        trained(cell, 5, 3, True, reset=flags)
        trained(cell, 5, 3, lengths=torch.tensor([5, 2, 3]))
        trained(cell, 5, 3, orders=2)
    assert len(engine.seen) >= 8


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cast"])
def test_operations_to_third_order(name):
    with only(compared(CPU)) as engine:
        _three_orders(_through_plan(_program(name)), _values())
    assert len(engine.seen) >= 2


@settings(max_examples=150, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(expression, expression, expression)
def test_random_cells(new_h, new_k, output):
    with only(compared(CPU)):
        assert_as_by_steps(_cell(new_h, new_k, output), ((4,),), sizes=((3, 3),))


def _seen(name: str, steps: int = 5, batch: int = 4, dtype: torch.dtype = torch.float64, **features: Tensor) -> list:
    """The runs of a training step: forwards and backwards."""
    with only(compared(CPU)) as engine:
        trained(catalogue.build(name, dtype, hidden_size=9), steps, batch, **features)
    return engine.seen[-2:]


def _kinds(loop: Any) -> list[str]:
    return [loop.nodes[i].op for i in loop.inputs.values()]


@pytest.mark.parametrize("name", ["lstm", "gru-before", "skip-two"])
def test_any_strides(name):
    for loop, inputs, initial, run, reverse in _seen(name):
        expected = Reference(loop).run(inputs, initial, run, reverse)
        assert_close(CPU(loop).run([_batch_first(v) for v in inputs], [_batch_first(v) for v in initial], run, reverse),
                     expected)
        gaps = [v.repeat_interleave(2, -1)[..., ::2] for v in inputs]
        assert_close(CPU(loop).run(gaps, initial, run, reverse), expected)
        still = [v[:1].expand(v.shape) if kind == "x" else v for v, kind in zip(inputs, _kinds(loop), strict=True)]
        assert_close(CPU(loop).run(still, initial, run, reverse), Reference(loop).run(still, initial, run, reverse))


def _batch_first(value: Tensor) -> Tensor:
    return value.transpose(0, 1).contiguous().transpose(0, 1) if value.dim() > 1 else value


@pytest.mark.parametrize("name", ["lstm", "gru-before", "skip-two", "slstm"])
@pytest.mark.parametrize("backwards", [False, True])
def test_ragged(name, backwards):
    lengths = [6, 6, 3, 2, 0]
    for loop, inputs, initial, run, _ in _seen(name, 6, 5):
        sizes = [sum(n > t for n in lengths) for t in range(6)]
        packed = [torch.cat([v[t, :n] for t, n in enumerate(sizes)]).unsqueeze(1) if kind == "x" else v
                  for v, kind in zip(inputs, _kinds(loop), strict=True)]
        ragged = replace(run, lead=(sum(sizes), 1), sizes=Sizes(sizes, 5))
        emits, finals = CPU(loop).run(packed, initial, ragged, backwards)
        for b, length in enumerate(lengths):
            own = [v[:length, b : b + 1] if kind == "x" else v for v, kind in zip(inputs, _kinds(loop), strict=True)]
            wanted, ends = Reference(loop).run(own, [v[:, b : b + 1] for v in initial],
                                               replace(run, lead=(length, 1)), backwards) if length else (
                                                   [], [v[:, b : b + 1] for v in initial])
            rows = [sum(sizes[:t]) + b for t in range(length)]
            assert_close([e[rows] for e in emits][: len(wanted)], wanted, name=f"sequence {b}")
            assert_close([f[:, b : b + 1] for f in finals], ends, name=f"the end of sequence {b}")


def test_nothing_to_do():
    for loop, inputs, initial, run, reverse in _seen("lstm"):
        for lead in ((0, 4), (5, 0), (0, 0)):
            cut = [v[: lead[0], : lead[1]] if kind == "x" else v
                   for v, kind in zip(inputs, _kinds(loop), strict=True)]
            starts = [v[:, : lead[1]] for v in initial]
            emits, finals = CPU(loop).run(cut, starts, replace(run, lead=lead), reverse)
            assert all(e.shape[:2] == lead for e in emits)
            assert_close(finals, starts)


def test_results_are_no_views_and_their_own():
    loop, inputs, initial, run, reverse = _seen("lstm")[0]
    emits, finals = CPU(loop).run(inputs, initial, run, reverse)
    before = [v.clone() for v in (*emits, *finals)]
    again = CPU(loop).run([v + 1 for v in inputs], initial, run, reverse)
    assert_close([*emits, *finals], before)
    assert all(not v._is_view() and v.is_contiguous() for v in (*emits, *finals, *again[0], *again[1]))


def test_what_was_read_lies_before_what_was_written():
    loop, inputs, initial, run, _ = _seen("skip-two")[0]
    (kept,) = [k for k, i in enumerate(loop.emit.values()) if i == loop.next["h"]]
    for reverse in (False, True):
        emits, _ = CPU(loop).run(inputs, initial, run, reverse)
        whole = torch.empty(0, dtype=run.dtype).set_(emits[kept].untyped_storage()).reshape(9, 4, 9)
        expected = torch.cat([emits[kept], initial[0].flip(0)]) if reverse else torch.cat([initial[0], emits[kept]])
        assert_close(whole, expected)


def test_wrong_tensors_are_refused():
    loop, inputs, initial, run, reverse = _seen("lstm")[0]
    engine = CPU(loop)
    for k, change in enumerate([lambda v: v.float(), lambda v: v[..., :-1], lambda v: v.to("meta")]):
        with pytest.raises(ValueError, match=r"^the CPU engine wants torch.float64\[\d+, "):
            engine.run([change(v) if v.dim() > k % 2 else v for v in inputs], initial, run, reverse)
        with pytest.raises(ValueError, match="the CPU engine wants"):
            engine.run(inputs, [change(v) for v in initial], run, reverse)
    with pytest.raises(ValueError, match=r"runs on float32 and float64, not on torch\.float16"):
        engine.run(inputs, initial, replace(run, dtype=torch.float16), reverse)
    assert CPU.refusal(loop, torch.float16, torch.device("cpu")) == "it is of float16, not of float32 or float64"
    assert CPU.refusal(loop, torch.float32, torch.device("meta")) == "it is on the device meta"
    assert CPU.refusal(loop, torch.float32, torch.device("cpu")) is None


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "batch", "width"), [("lstm", 9, 40), ("gru-before", 2, 200), ("skip-two", 1, 300)])
def test_the_number_of_threads_changes_nothing(name, batch, width, threads):
    outputs = []
    for count in (1, 2, 3, 7):
        threads(count)
        with only(compared(CPU)):
            outputs.append(trained(catalogue.build(name, torch.float32, hidden_size=width), 12, batch).detach())
    assert library().parallel
    assert all(torch.equal(o, outputs[0]) for o in outputs)


def test_several_python_threads():
    runs = _seen("lstm", 20) + _seen("gru-before", 20)
    engines = [(CPU(loop), of) for loop, *of in runs]
    expected = [engine.run(*of) for engine, of in engines]
    failures = []

    def work():
        for _ in range(30):
            for (engine, call), (emits, finals) in zip(engines, expected, strict=True):
                found = engine.run(*call)
                if not all(torch.equal(a, b) for a, b in zip((*found[0], *found[1]), (*emits, *finals), strict=True)):
                    failures.append(engine)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not failures


def test_nan_and_infinity_pass():
    for loop, inputs, initial, run, reverse in _seen("lstm", dtype=torch.float32):
        for bad in (float("nan"), float("inf"), -float("inf")):
            spoilt = [v.clone() for v in inputs]
            spoilt[_kinds(loop).index("x")][2, 1, 3] = bad
            found, wanted = (e(loop).run(spoilt, initial, run, reverse) for e in (CPU, Reference))
            for a, b in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
                assert torch.equal(a.isnan(), b.isnan())
            assert_close(found, wanted)


def _python(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("isa", library().isas if not native.args[0] else [])
def test_each_instruction_set(isa):
    """The other tests of this file, in part, where memory begins as NaN."""
    if "OSTINATO_ISA" in os.environ:
        pytest.skip("this is one of them")
    chosen = "test_any or test_ragged or third or (test_cells and (gru-before or slstm))"
    arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen]
    environment = {**os.environ, "OSTINATO_ISA": isa, "OSTINATO_POISON": "1"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    code = "from ostinato.engines.cpu import library; print(library().isa)"
    assert _python(code, OSTINATO_ISA=isa) == isa


def test_an_unknown_instruction_set():
    code = "from ostinato.engines.cpu import unavailable; print(unavailable())"
    assert re.match(r"OSTINATO_ISA=mmx does not run here; there are: .*\bbaseline$", _python(code, OSTINATO_ISA="mmx"))


def test_no_library(tmp_path):
    with pytest.raises(Unavailable, match=r"it was not compiled when .* GCC or Clang"):
        Library(tmp_path / "libostinato_cpu.so")
    broken = Path(tmp_path / "broken.so")
    broken.write_bytes(b"no library")
    with pytest.raises(Unavailable, match="it does not load: "):
        Library(broken)


def test_malformed_words_are_an_error():
    with pytest.raises(RuntimeError, match="the CPU engine: these words are no plan"):
        library().plan([1, 2, 3], [])
