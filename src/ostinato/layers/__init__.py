"""Networks made of recurrences: stacks, both directions, the lecture's three designs, feedback of the output, and the
drop-ins for torch.nn."""

from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.decay import ExponentialDecay, InverseSigmoidDecay, LinearDecay
from ostinato.layers.designs import (
    HiddenToHidden,
    OneOutput,
    OutputToHidden,
    lecture_parameters,
    log_loss,
    probabilities,
)
from ostinato.layers.drop_in import GRU, LSTM, RNN
from ostinato.layers.feedback import Feedback
from ostinato.layers.stack import Stack

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "ExponentialDecay",
    "Feedback",
    "HiddenToHidden",
    "InverseSigmoidDecay",
    "LinearDecay",
    "OneOutput",
    "OutputToHidden",
    "Stack",
    "lecture_parameters",
    "log_loss",
    "probabilities",
]
