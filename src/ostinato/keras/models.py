"""Sequential, which knows its shapes as soon as its first layer does."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("ostinato")
class Sequential(keras.Sequential):
    """Keras's ``Sequential``; one that begins with an ``Embedding`` can be summarised before it has seen data.

    An embedding reads numbers ``[B, T]`` of any B and T, so the model is built for these.

    Source: the lecture, "RNNs in Keras".

    >>> from ostinato.keras.layers import Embedding, SimpleRNN
    >>> model = Sequential([Embedding(10000, 32), SimpleRNN(32)])
    >>> model.summary(print_fn=lambda text: None)
    >>> [layer.count_params() for layer in model.layers], model.output_shape
    ([320000, 2080], (None, 32))
    """

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """As Keras's."""
        if not self.built and self.layers and isinstance(self.layers[0], keras.layers.Embedding):
            self.build((None, None))
        super().summary(*args, **kwargs)
