"""See inside: the network unfolded, its equations, gradients over time, spectra, gates and time constants."""

from ostinato.inspect.equations import Equations, equations
from ostinato.inspect.flow import Flow, GradientFlow, gradient_flow
from ostinato.inspect.gates import Traces, gates, states
from ostinato.inspect.graph import Edge, Graph, Node
from ostinato.inspect.jacobians import Jacobians, jacobians
from ostinato.inspect.saliency import Saliency, saliency
from ostinato.inspect.spectrum import Spectrum, spectra, spectrum
from ostinato.inspect.timescales import timescales
from ostinato.inspect.unfold import Drawing, unfold

__all__ = [
    "Drawing",
    "Edge",
    "Equations",
    "Flow",
    "GradientFlow",
    "Graph",
    "Jacobians",
    "Node",
    "Saliency",
    "Spectrum",
    "Traces",
    "equations",
    "gates",
    "gradient_flow",
    "jacobians",
    "saliency",
    "spectra",
    "spectrum",
    "states",
    "timescales",
    "unfold",
]
