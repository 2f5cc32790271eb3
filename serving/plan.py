"""The messages between the supervisor, which watches the folders, and the workers, which answer requests.

A version is judged once, then loaded by every worker, then offered by every worker. So a client that was told that it
is available gets it from each of them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from servable import Key

# The states in TensorFlow Serving's GetModelStatus.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"

Looks = tuple[tuple[str, int, int], ...]  # name, size and time of each file in a folder


class Status(NamedTuple):
    """The state of a version, and the error if it ended with one."""

    state: str
    error: str = ""


class Terms(NamedTuple):
    """How a judged version is loaded."""

    rows: Mapping[str, int] | None  # how many each signature takes at once; None for a trusted model
    looks: Looks  # of the files that were judged


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
    """What a worker is doing."""

    loaded: Mapping[Key, str] = {}  # each with a note on how many rows it takes
    errors: Mapping[Key, str] = {}
    is_open: bool = False
