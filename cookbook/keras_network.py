"""A small Keras network to freeze. It has Dropout, BatchNormalization, a custom layer and two outputs."""

import os
from typing import Any

import numpy as np


def Scale() -> type:  # noqa: N802  (it returns the class of that name)
    """Returns the class of a custom layer, which multiplies by a number. Imports Keras."""
    import keras

    class Scale(keras.layers.Layer):
        """Multiplies its inputs by `factor`."""

        def __init__(self, factor: float = 1.0, **settings: Any) -> None:
            super().__init__(**settings)
            self.factor = factor

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "factor": self.factor}

    return Scale


def make_model(paths: list[str]) -> None:
    """Trains the network briefly, from float32 `[?, 10]` to the sum `[?, 1]` and squares `[?, 10]`, and saves it."""
    import keras

    keras.utils.set_random_seed(47)
    inputs = keras.Input([10], name="numbers")
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.1)(hidden)
    total = Scale()(2.0, name="sum")(keras.layers.Dense(1)(hidden))
    model = keras.Model(inputs, [total, keras.layers.Dense(10, name="squares")(hidden)])
    model.compile("adam", ["mse", "mse"])
    x = np.random.default_rng(47).normal(size=[256, 10]).astype(np.float32)
    model.fit(x, [x.sum(axis=1, keepdims=True), x**2], epochs=5, verbose=0)
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        model.save(path)
