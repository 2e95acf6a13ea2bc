"""What a wrong call is told: the argument, what was expected, and what came."""

import catalogue
import pytest
import torch
from loops import Fibre, Tagger

from ostinato import Cell, Recurrent, cells, strict

LSTM = Recurrent(catalogue.build("lstm"))
TAGGER = Recurrent(Tagger())
X = torch.zeros(2, 4, 3, dtype=torch.float64)
H = torch.zeros(2, 5, dtype=torch.float64)
WORDS = torch.zeros(2, 4, dtype=torch.int64)
C = torch.zeros(2, 2, dtype=torch.float64)
TRUE = torch.ones(2, 4, dtype=torch.bool)


class Returns(Cell):
    """Two states; ``step`` returns what ``function`` makes of W x and the states."""

    def __init__(self, function):
        super().__init__()
        self.W = torch.nn.Linear(3, 5, dtype=torch.float64)
        self.add_state("h", 5)
        self.add_state("m", 5)
        self.function = function

    def step(self, x, h, m):
        return self.function(self.W(x), h, m)


class Stateless(Cell):
    def step(self, x):
        return x


class Stepless(Cell):
    def __init__(self):
        super().__init__()
        self.add_state("h", 5)


class Early(Cell):
    def __init__(self):
        self.add_state("h", 3)


def _returning(function):
    return Recurrent(Returns(function))(X)


CALLS = [
    # x
    (lambda: LSTM(X[0, 0]), ValueError, r"x must be \[B, T, ...\], got the shape \[3\]"),
    (
        lambda: Recurrent(cells.GRU(3, 4), batch_first=False)(X[0, 0]),
        ValueError,
        r"x must be \[T, B, ...\], got .*\[3\]",
    ),
    (lambda: LSTM(None), TypeError, "x must be a tensor or several, got a NoneType"),
    (lambda: LSTM([[1.0]]), TypeError, "x must be a tensor or several, got a list with a list in it"),
    (lambda: LSTM([]), ValueError, "needs at least one input, got none"),
    (
        lambda: TAGGER((WORDS, X[:1]), constants=C),
        ValueError,
        r"agree in batch and time: x\[0\] is \[2, 4\], x\[1\] is \[1, 4, 3\]",
    ),
    (
        lambda: TAGGER((WORDS, X[:, :3]), constants=C),
        ValueError,
        r"agree in batch and time: x\[0\] is \[2, 4\], x\[1\] is \[2, 3, 3\]",
    ),
    (lambda: LSTM(X[:, :0]), ValueError, r"x has no time steps: \[B, T, ...\] is \[2, 0, 3\]"),
    (
        lambda: Recurrent(catalogue.build("lstm", torch.float32))(X),
        TypeError,
        r"x is torch.float64, the cell's parameters are torch.float32: convert .* \(x.to\(torch.float32\) or ",
    ),
    # the step's own errors, with what it was given
    (
        lambda: LSTM(X[..., :2]),
        RuntimeError,
        r"shapes cannot be multiplied(.|\n)*LSTM.step was called with the inputs float64 \[B, 2\], the states h, C",
    ),
    (
        lambda: LSTM((X, X)),
        TypeError,
        r"takes 4 positional arguments but 5(.|\n)*with the inputs float64 \[B, 3\], float64 \[B, 3\], the states h, C",
    ),
    (
        lambda: TAGGER((WORDS, X)),
        TypeError,
        r"missing 1 required positional argument: 'c'(.|\n)*the inputs int64 \[B\]",
    ),
    (lambda: LSTM(X, constants=C), TypeError, r"takes 4 .* but 5(.|\n)*, the constants float64 \[B, 2\]"),
    (lambda: Recurrent(Fibre())(X[..., :1]), RuntimeError, r"the states k\[t-2\], k\[t-5\], m"),
    (lambda: TAGGER((WORDS + 9, X), constants=C), IndexError, "index out of range"),
    # lengths, mask, reset
    (lambda: LSTM(X, lengths=[1, -1]), ValueError, "lengths must lie between 0 and T=4, sequence 1 has -1"),
    (lambda: LSTM(X, lengths=torch.tensor([5, 1])), ValueError, "between 0 and T=4, sequence 0 has 5"),
    (
        lambda: LSTM(X, lengths=[1, 2, 3]),
        ValueError,
        r"lengths must be one number a sequence, \[2\], got the shape \[3\]",
    ),
    (lambda: LSTM(X, lengths=[]), ValueError, r"\[2\], got the shape \[0\]"),
    (lambda: LSTM(X, lengths=[[1], [2]]), ValueError, r"\[2\], got the shape \[2, 1\]"),
    (lambda: LSTM(X, lengths=[1.0, 2.0]), TypeError, "lengths must be whole numbers, got torch.float32"),
    (lambda: LSTM(X, lengths=TRUE[:, 0]), TypeError, "lengths must be whole numbers, got torch.bool"),
    (lambda: LSTM(X, lengths=3), TypeError, "lengths must be a tensor or a list of whole numbers, got a int"),
    (lambda: LSTM(X, mask=TRUE.float()), TypeError, r"mask must be a bool tensor \[2, 4\], got torch.float32"),
    (lambda: LSTM(X, mask=[[True]]), TypeError, r"mask must be a bool tensor \[2, 4\], got list"),
    (lambda: LSTM(X, mask=TRUE.T), ValueError, r"mask must be \[B, T\] = \[2, 4\], got \[4, 2\]"),
    (lambda: LSTM(X, reset=TRUE[:, 0]), ValueError, r"reset must be \[B, T\] = \[2, 4\], got \[2\]"),
    (lambda: LSTM(X, reset=TRUE.int()), TypeError, r"reset must be a bool tensor \[2, 4\], got torch.int32"),
    (lambda: LSTM(X, lengths=[1, 1], mask=TRUE), ValueError, "lengths or a mask, not both"),
    # initial states
    (lambda: LSTM(X, H), ValueError, r"initial must hold 2 states \(h, C\), got 1"),
    (lambda: LSTM(X, (H, H, H)), ValueError, r"initial must hold 2 states \(h, C\), got 3"),
    (lambda: LSTM(X, (H, H[:, :3])), ValueError, r"the initial state 'C' must be \[2, 5\], got \[2, 3\]"),
    (lambda: LSTM(X, (H[:1], H)), ValueError, r"the initial state 'h' must be \[2, 5\], got \[1, 5\]"),
    (lambda: Recurrent(catalogue.build("skip-two"))(X, H), ValueError, r"state 'h' must be \[2, 4, 5\], got \[2, 5\]"),
    (lambda: LSTM(X, (H.long(), H)), TypeError, "the initial state 'h' must be torch.float64, got torch.int64"),
    (lambda: LSTM(X, (H, None)), TypeError, "initial must be .*, got a tuple with a NoneType in it"),
    (lambda: LSTM(X, 0.0), TypeError, "initial must be a tensor or several, got a float"),
    (
        lambda: Recurrent(catalogue.build("lstm", torch.float32))(X.float(), (H, H)),
        TypeError,
        "the initial state 'h' is torch.float64, the cell's parameters are torch.float32",
    ),
    # constants
    (lambda: TAGGER((WORDS, X), constants=C[:1]), ValueError, r"constants must be \[B, ...\] with B=2, got \[1, 2\]"),
    (lambda: TAGGER((WORDS, X), constants=C[0, 0]), ValueError, r"constants must be \[B, ...\] with B=2, got \[\]"),
    (lambda: TAGGER((WORDS, X), constants=[3]), TypeError, "constants must be .*, got a list with a int in it"),
    # the module and its cell
    (lambda: Recurrent(torch.nn.Linear(2, 2)), TypeError, "repeats an ostinato.Cell, got a Linear"),  # pyright: ignore
    (lambda: Recurrent(cells.LSTM), TypeError, "repeats an ostinato.Cell, got the class LSTM"),  # pyright: ignore
    (lambda: Recurrent(Stateless()), ValueError, r"Stateless declares no state: call add_state\(\)"),
    (lambda: Recurrent(cells.GRU(2, 2), save="all"), ValueError, "save must be None, 'recompute' or a number of bytes"),
    (lambda: Recurrent(cells.GRU(2, 2), save=-1), ValueError, "save must be None.*, got -1"),
    (lambda: Recurrent(cells.GRU(3, 4), save=3)(X.float()), ValueError, "a budget of 3 bytes .* at least"),
    (lambda: Recurrent(Stepless())(X), TypeError, r"Stepless has no step\(\): write one that returns the next states"),
    (lambda: Early(), AttributeError, r"Early.__init__ must call super\(\).__init__\(\) before add_state"),
    # what a step returns
    (
        lambda: _returning(lambda a, h, m: (a, a, a, a)),
        ValueError,
        r"Returns.step must return 2 next states \(h, m\) and at most one output, it returned 4",
    ),
    (lambda: _returning(lambda a, h, m: a), ValueError, r"2 next states \(h, m\) .*, it returned 1 value"),
    (lambda: _returning(lambda a, h, m: None), ValueError, "must return 2 next states .*, it returned 1 value"),
    (lambda: _returning(lambda a, h, m: (a, 3)), ValueError, "Returns.step must return tensors, it returned a int"),
    (
        lambda: _returning(lambda a, h, m: (a, a[:, :2])),
        ValueError,
        r"returned \(., 2\) for the next state 'm', expected \[B, 5\]",
    ),
    (
        lambda: _returning(lambda a, h, m: (a.sum(0), m)),
        ValueError,
        r"\(5,\) for the next state 'h', expected \[B, 5\]",
    ),
    (
        lambda: _returning(lambda a, h, m: 1 / 0),
        ZeroDivisionError,
        "division by zero(.|\n)*Returns.step was called with",
    ),
    # steps, streams, explain
    (lambda: LSTM.step(X[0, 0, 0]), ValueError, r"x must be \[B, ...\]"),
    (lambda: LSTM.step(X[:, 0], H), ValueError, r"initial must hold 2 states \(h, C\), got 1"),
    (lambda: LSTM.stream()(X[0, 0]), ValueError, r"x must be \[B, T, ...\], got the shape \[3\]"),
    (
        lambda: LSTM.stream().reset(torch.tensor([1, 0])),
        TypeError,
        r"rows must be a bool tensor \[B\], got torch.int64",
    ),
    (lambda: LSTM.stream((H, H)).reset(torch.tensor([True])), ValueError, r"rows must be \[B\] = \[2\], got \[1\]"),
    (lambda: Recurrent(cells.GRU(2, 2)).explain(), ValueError, "nothing to explain yet: call the module, or give"),
]


@pytest.mark.parametrize("at", range(len(CALLS)))
def test_a_wrong_call(at):
    call, kind, words = CALLS[at]
    for _ in range(2):  # what is remembered of the first time changes nothing
        with pytest.raises(kind, match=words) as caught:
            call()
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda c: c.add_state("h", 3), "state 'h' is declared twice in GRU"),
        (lambda c: c.add_state("a b", 3), "must be an identifier, got 'a b'"),
        (lambda c: c.add_state("k", 0), "sizes must be at least 1"),
        (lambda c: c.add_state("k", (2, -1)), "sizes must be at least 1"),
        (lambda c: c.add_state("k", 2, delays=()), r"different whole numbers from 1 up, got \(\)"),
        (lambda c: c.add_state("k", 2, delays=(1, 1)), r"got \(1, 1\)"),
        (lambda c: c.add_state("k", 2, delays=(0,)), r"got \(0,\)"),
    ],
)
def test_a_wrong_state(add, words):
    with pytest.raises(ValueError, match=words):
        add(cells.GRU(2, 2))


def test_an_error_leaves_the_module_as_it_was():
    rnn = Recurrent(catalogue.build("lstm"))
    wanted = rnn(X + 1)
    before = {name: (id(p), p.detach().clone()) for name, p in rnn.named_parameters()}
    for wrong in (X[..., :2], X.float().double()[0], X[:, :0]):
        with pytest.raises((RuntimeError, ValueError)):
            rnn(wrong)
    assert {name: id(p) for name, p in rnn.named_parameters()} == {name: at for name, (at, _) in before.items()}
    with strict():
        assert all(torch.equal(a, b) for a, b in zip(rnn(X + 1)[1], wanted[1], strict=True))
