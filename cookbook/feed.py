"""Turns numbers of the command line into the array that a placeholder takes."""

from typing import Any

import numpy as np

import graph_check
import rows


def parse_feed(graph_def: Any, name: str, text: str, flag: str = "--x") -> np.ndarray:
    """Parses comma-separated numbers into an array of the placeholder's dtype and shape.

    Raises:
        ModelError: there is no such placeholder of floating-point numbers.
        ValueError: a number is none, or their count does not fit the shape.
    """
    node = graph_check.find_placeholder(graph_def, name)
    numbers = rows.parse_numbers(text, graph_check.dtype_of(node), f" in {flag}")
    return numbers.reshape(rows.feed_shape(graph_check.placeholder_dims(node), len(numbers), node.name))
