"""The steps the field knows, one family a file; each reads like its formula.

In every cell ``W`` maps the input (and has the bias) and ``U`` the state; the state that is the output comes first.
"The lecture" in their sources is "Recurrent Neural Networks" of the course Deep Learning, SDU Summer School, 2018.
"""

from ostinato.cells import initialise
from ostinato.cells.attention import AdditiveScore, AttentionDecoder, DotScore
from ostinato.cells.average import RunningAverage
from ostinato.cells.clockwork import ClockworkRNN
from ostinato.cells.continuous import Antisymmetric, CoupledOscillators
from ostinato.cells.convlstm import ConvLSTM
from ostinato.cells.decoder import Decoder, ValueDecoder
from ostinato.cells.elman import IRNN, Elman
from ostinato.cells.gated import ForgetGated, Gated
from ostinato.cells.gru import GRU, MinimalGRU
from ostinato.cells.highway import RecurrentHighway
from ostinato.cells.indrnn import IndRNN
from ostinato.cells.layernorm import LayerNormGRU, LayerNormLSTM
from ostinato.cells.leaky import Leaky, Spectrum
from ostinato.cells.light import UGRNN, FastGRNN, LiGRU
from ostinato.cells.lmu import LegendreMemory
from ostinato.cells.lstm import LSTM, PeepholeLSTM, ProjectedLSTM
from ostinato.cells.lstm_gates import JANET, CoupledLSTM, OriginalLSTM
from ostinato.cells.lstm_inputs import MogrifierLSTM, MultiplicativeLSTM
from ostinato.cells.output import NARX, OutputRecurrence
from ostinato.cells.reservoir import Reservoir
from ostinato.cells.scannable import SRU, MinGRU, MinLSTM
from ostinato.cells.skip import Skip
from ostinato.cells.slstm import SLSTM
from ostinato.cells.table import create, names, options, output_size, purpose

# Cells over two dimensions, and cells around cells.
# isort: split
from ostinato.cells.dropout import RecurrentDropout, WeightDropout
from ostinato.cells.learned import LearnedInitial
from ostinato.cells.normalise import LayerNorm
from ostinato.cells.residual import Highway, Residual
from ostinato.cells.stacked import StackedCells
from ostinato.cells.two_dimensional import Cell2d, LSTM2d, RowAbove
from ostinato.cells.window import SlidingWindow
from ostinato.cells.wrapper import Wrapper
from ostinato.cells.zoneout import Zoneout

__all__ = [
    "GRU",
    "IRNN",
    "JANET",
    "LSTM",
    "NARX",
    "SLSTM",
    "SRU",
    "UGRNN",
    "AdditiveScore",
    "Antisymmetric",
    "AttentionDecoder",
    "Cell2d",
    "ClockworkRNN",
    "ConvLSTM",
    "CoupledLSTM",
    "CoupledOscillators",
    "Decoder",
    "DotScore",
    "Elman",
    "FastGRNN",
    "ForgetGated",
    "Gated",
    "IndRNN",
    "LSTM2d",
    "LayerNormGRU",
    "LayerNormLSTM",
    "Leaky",
    "LegendreMemory",
    "LiGRU",
    "MinGRU",
    "MinLSTM",
    "MinimalGRU",
    "MogrifierLSTM",
    "MultiplicativeLSTM",
    "OriginalLSTM",
    "OutputRecurrence",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "RecurrentHighway",
    "Reservoir",
    "RowAbove",
    "RunningAverage",
    "Skip",
    "SlidingWindow",
    "Spectrum",
    "ValueDecoder",
    "create",
    "initialise",
    "names",
    "options",
    "output_size",
    "purpose",
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
