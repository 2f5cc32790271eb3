"""TensorFlow's C API through ctypes, without importing TensorFlow. The Go and Java bindings make the same calls.

Source: tensorflow/include/tensorflow/c/c_api.h in the installed package.
"""

import ctypes
import importlib.util
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from model_import_export.graph_mode import quiet_log

import numpy as np

DOUBLE = 2  # TF_DOUBLE
# inter_op_parallelism_threads (field 5) = -1 as a serialized ConfigProto: operations run in the caller's thread.
CONFIG = b"\x28" + b"\xff" * 9 + b"\x01"


class Output(ctypes.Structure):
    """A TF_Output: an operation, and the index of one of its outputs."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


def load_library() -> ctypes.CDLL:
    """Loads the C library that comes with the installed Python package."""
    spec = importlib.util.find_spec("tensorflow")  # finds the folder without importing
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("no TensorFlow: tensorflow (pip install --requirement requirements.txt)")
    folder = spec.submodule_search_locations[0]
    with quiet_log():
        library = ctypes.CDLL(os.path.join(folder, "libtensorflow_cc.so.2"))
    for name in ("NewStatus", "NewGraph", "NewImportGraphDefOptions", "NewSessionOptions", "NewSession"):
        getattr(library, f"TF_{name}").restype = c_void_p
    for name in ("NewBufferFromString", "GraphOperationByName", "AllocateTensor", "TensorData"):
        getattr(library, f"TF_{name}").restype = c_void_p
    library.TF_Message.restype = c_char_p
    library.TF_TensorByteSize.restype = c_size_t
    return library


class Session:
    """A graph and a session in the C library. Pointers are passed as `c_void_p`: ctypes cuts an int to 32 bits."""

    def __init__(self, library: ctypes.CDLL, graph_def: bytes) -> None:
        self.library = library
        self.status = c_void_p(library.TF_NewStatus())
        self.graph = c_void_p(library.TF_NewGraph())
        options = c_void_p(library.TF_NewImportGraphDefOptions())
        buffer = c_void_p(library.TF_NewBufferFromString(graph_def, c_size_t(len(graph_def))))
        self.call("TF_GraphImportGraphDef", self.graph, buffer, options)
        library.TF_DeleteBuffer(buffer)
        library.TF_DeleteImportGraphDefOptions(options)
        options = c_void_p(library.TF_NewSessionOptions())
        self.call("TF_SetConfig", options, CONFIG, c_size_t(len(CONFIG)))
        self.session = c_void_p(self.call("TF_NewSession", self.graph, options))
        library.TF_DeleteSessionOptions(options)

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function whose last argument is a status. Raises ValueError with its message unless it is OK."""
        result = getattr(self.library, name)(*arguments, self.status)
        if self.library.TF_GetCode(self.status):
            raise ValueError(f"{name}: {self.library.TF_Message(self.status).decode()}")
        return result

    def find(self, name: str) -> Output:
        """The first output of an operation."""
        operation = self.library.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            raise ValueError(f"no such operation: {name}")
        return Output(operation, 0)

    def run(self, source: str, x: np.ndarray, target: str) -> np.ndarray:
        """Feeds float64 `[m, n]` and fetches float64 `[m, n]`."""
        dims = (c_int64 * x.ndim)(*x.shape)
        feed = c_void_p(self.library.TF_AllocateTensor(DOUBLE, dims, x.ndim, c_size_t(x.nbytes)))
        ctypes.memmove(self.library.TF_TensorData(feed), x.ctypes.data, x.nbytes)
        fetched = c_void_p()
        try:
            ends = byref(self.find(source)), byref(feed), 1, byref(self.find(target)), byref(fetched), 1
            self.call("TF_SessionRun", self.session, None, *ends, None, 0, None)
            if self.library.TF_TensorType(fetched) != DOUBLE or self.library.TF_TensorByteSize(fetched) != x.nbytes:
                raise ValueError(f"not one float64 per number: {target}")
            data = ctypes.cast(self.library.TF_TensorData(fetched), POINTER(ctypes.c_double))
            return np.ctypeslib.as_array(data, x.shape).copy()
        finally:
            self.library.TF_DeleteTensor(feed)
            if fetched:
                self.library.TF_DeleteTensor(fetched)

    def close(self) -> None:
        """Frees the session, the graph and the status."""
        self.call("TF_CloseSession", self.session)
        self.call("TF_DeleteSession", self.session)
        self.library.TF_DeleteGraph(self.graph)
        self.library.TF_DeleteStatus(self.status)
