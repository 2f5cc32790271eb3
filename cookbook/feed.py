"""Turns values from the command line into the array that a placeholder takes."""

from typing import Any

from model_import_export import rows, tensors

import numpy as np


def parse_feed(graph: Any, name: str, text: str, flag: str = "--x") -> np.ndarray:
    """Parses comma-separated values or reads a `.npy` file. Returns an array of the placeholder's dtype and shape.

    Raises:
        ValueError: the graph has no such input, or the values do not fit it.
    """
    tensor = tensors.ends_of(graph).find_input(name)
    return rows.make_feed(tensors.placeholder_of(tensor), text, flag)
