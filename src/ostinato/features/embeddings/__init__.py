"""Words as vectors: read from the files that people have, learned, looked at."""

from ostinato.features.embeddings.layer import Embedding, TiedLinear
from ostinato.features.embeddings.read import FORMATS, read_vectors
from ostinato.features.embeddings.vectors import Coverage, Vectors

__all__ = ["FORMATS", "Coverage", "Embedding", "TiedLinear", "Vectors", "read_vectors"]
