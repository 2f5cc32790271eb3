"""The messages between the supervisor, which watches the folders, and the workers, which answer requests.

A version is judged once, then loaded by every worker, then offered by every worker: a client that was told that it is
available gets it from each of them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from servable import Key

# The states that TensorFlow Serving's GetModelStatus knows.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"

Looks = tuple[tuple[str, int, int], ...]  # of a folder's files: name, size, time


class Status(NamedTuple):
    """The state of a version, and why it ended if it did so with an error."""

    state: str
    error: str = ""


class Terms(NamedTuple):
    """How a version that was judged is loaded."""

    rows: Mapping[str, int] | None  # by signature, how many it takes at once; None for one that is trusted
    looks: Looks  # of what was judged


class Model(NamedTuple):
    """A model as clients see it."""

    states: Mapping[int, Status]
    offered: Mapping[int, Key]
    labels: Mapping[str, int]


class Plan(NamedTuple):
    """What each worker should be doing."""

    loads: Mapping[Key, Terms] = {}
    models: Mapping[str, Model] = {}
    is_open: bool = False  # whether to listen


class Report(NamedTuple):
    """What a worker does."""

    loaded: Mapping[Key, str] = {}  # with what to say of each: how many rows it takes
    errors: Mapping[Key, str] = {}
    is_open: bool = False
