"""The steps the field knows, one family a file; each reads like its formula.

In every cell ``W`` maps the input (and has the bias) and ``U`` the state; the state that is the output comes first.
"The lecture" in their sources is "Recurrent Neural Networks" of the course Deep Learning, SDU Summer School, 2018.
"""

from ostinato.cells.elman import Elman
from ostinato.cells.gru import GRU, MinimalGRU
from ostinato.cells.indrnn import IndRNN
from ostinato.cells.leaky import Leaky
from ostinato.cells.lstm import LSTM, LayerNormLSTM, PeepholeLSTM
from ostinato.cells.output import OutputRecurrence
from ostinato.cells.skip import Skip
from ostinato.cells.slstm import SLSTM
from ostinato.cells.table import create, names, options, output_size

# Cells around cells.
# isort: split
from ostinato.cells.dropout import RecurrentDropout, WeightDropout
from ostinato.cells.learned import LearnedInitial
from ostinato.cells.normalise import LayerNorm
from ostinato.cells.residual import Highway, Residual
from ostinato.cells.stacked import StackedCells
from ostinato.cells.wrapper import Wrapper
from ostinato.cells.zoneout import Zoneout

__all__ = [
    "GRU",
    "LSTM",
    "SLSTM",
    "Elman",
    "IndRNN",
    "LayerNormLSTM",
    "Leaky",
    "MinimalGRU",
    "OutputRecurrence",
    "PeepholeLSTM",
    "Skip",
    "create",
    "names",
    "options",
    "output_size",
]

__all__ += [
    "Highway",
    "LayerNorm",
    "LearnedInitial",
    "RecurrentDropout",
    "Residual",
    "StackedCells",
    "WeightDropout",
    "Wrapper",
    "Zoneout",
]
