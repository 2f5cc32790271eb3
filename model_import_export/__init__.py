"""Code that the Python programs share: the gate, a model's files, values as text, training, the command line."""

__version__ = "1.0.0"


class ModelError(ValueError):
    """A model is refused. The message names the fault, the file or node, and what to do."""
