"""Code that the scripts of other programs share: the expected numbers, and the comparison."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np


def compare_all(
    program: str,
    calculate: Callable[[str, np.ndarray], np.ndarray],
    float64: float,
    only: Collection[str] | None = None,
) -> None:
    """Runs each model and compares: float64 to an error of `float64`, float32 to 1e-6, bool exactly. The error is
    relative to the largest result, because near zero the terms of a sum cancel.

    Args:
        calculate: takes a model's path and its input, and returns its output.
        only: the paths of the models that the program can read; None for all.

    Raises:
        AssertionError: a result differs.
    """
    arrays: Any = np.load(".cache/expected.npz")
    paths = [name.removesuffix("/x") for name in arrays if name.endswith("/x")]
    for path in paths if only is None else only:
        x, expected = arrays[f"{path}/x"], arrays[f"{path}/y"]
        results = calculate(path, x)
        tolerance = {"float64": float64, "float32": 1e-6, "bool": 0}[expected.dtype.name]
        limit = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(results, expected, rtol=0, atol=limit, err_msg=f"{program}: {path}")
        print(f"{program}: {path}: {expected.size} results, {expected.dtype.name} equal to {tolerance}")
