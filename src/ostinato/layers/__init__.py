"""Networks made of recurrences: stacks, both directions, images, time-delay networks, the lecture's three designs,
feedback of the output, and the drop-ins for torch.nn."""

from ostinato.layers.attention import Attention, AttentionDecoder, Memory
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
from ostinato.layers.files import load, save
from ostinato.layers.images import Patches, ReNet
from ostinato.layers.recurrent2d import Recurrent2d
from ostinato.layers.stack import Stack
from ostinato.layers.streams import StackStream, TDNNStream
from ostinato.layers.tdnn import TDNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "TDNN",
    "Attention",
    "AttentionDecoder",
    "Bidirectional",
    "ExponentialDecay",
    "Feedback",
    "HiddenToHidden",
    "InverseSigmoidDecay",
    "LinearDecay",
    "Memory",
    "OneOutput",
    "OutputToHidden",
    "Patches",
    "ReNet",
    "Recurrent2d",
    "Stack",
    "StackStream",
    "TDNNStream",
    "lecture_parameters",
    "load",
    "log_loss",
    "probabilities",
    "save",
]
