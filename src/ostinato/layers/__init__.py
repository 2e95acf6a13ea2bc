"""Networks made of recurrences: stacks, both directions, and the drop-ins for torch.nn."""

from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.drop_in import GRU, LSTM, RNN
from ostinato.layers.stack import Stack

__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "Stack"]
