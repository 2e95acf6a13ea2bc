"""See inside: the network unfolded, its equations, gradients over time, spectra, gates and time constants."""

from ostinato.inspect.equations import Equations, equations
from ostinato.inspect.graph import Edge, Graph, Node
from ostinato.inspect.unfold import Drawing, unfold

__all__ = ["Drawing", "Edge", "Equations", "Graph", "Node", "equations", "unfold"]
