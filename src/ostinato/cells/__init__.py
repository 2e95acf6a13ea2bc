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
from ostinato.cells.two_dimensional import Cell2d, LSTM2d, RowAbove

__all__ = [
    "GRU",
    "LSTM",
    "SLSTM",
    "Cell2d",
    "Elman",
    "IndRNN",
    "LSTM2d",
    "LayerNormLSTM",
    "Leaky",
    "MinimalGRU",
    "OutputRecurrence",
    "PeepholeLSTM",
    "RowAbove",
    "Skip",
    "create",
    "names",
    "options",
    "output_size",
]
