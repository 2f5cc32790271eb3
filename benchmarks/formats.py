"""Compares the formats of one model, a small convolutional network: how large each is, and what an image costs in it.

    python benchmarks/formats.py

Reads what the main page and the cookbook made: frozen_graphs/cnn.pb, results/cnn.tflite, results/cnn_int8.tflite,
results/cnn.onnx, results/images.npy. Each calculates in one thread, one image at a time.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measure
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import make_callable, session_config, tf

import numpy as np

CALLS = 2_000
SAVED_MODEL = "results/cnn_savedmodel"
FILES = {
    "frozen graph": "frozen_graphs/cnn.pb",
    "SavedModel": SAVED_MODEL,
    "LiteRT": "results/cnn.tflite",
    "LiteRT, int8": "results/cnn_int8.tflite",
    "ONNX": "results/cnn.onnx",
}
Run = Callable[[], object]


def size_of(path: str) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(os.path.getsize(file) for file in model_file.files_of(path))


def in_tensorflow(path: str, image: np.ndarray) -> Run:
    """One image in a session."""
    session = tf.Session(graph=tf.Graph(), config=session_config())
    with session.graph.as_default():
        if os.path.isdir(path):
            ends = tensors.keys_of(
                session.graph, tf.saved_model.loader.load(session, ["serve"], path), "serving_default"
            )
        else:
            tf.import_graph_def(model_file.read_frozen_graph(path), name="")
            ends = tensors.ends_of(session.graph)
    call = make_callable(session, [ends.find_input(None).name], [ends.find_output(None).name])
    return lambda: call(image)


def in_litert(path: str, image: np.ndarray) -> Run:
    """One image in LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run() -> object:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


def in_onnx_runtime(path: str, image: np.ndarray) -> Run:
    """One image in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})


def microseconds(run: Run) -> float:
    """The time of a warm call."""
    for calls in (CALLS // 10, CALLS):
        start = time.perf_counter()
        for _ in range(calls):
            run()
    return (time.perf_counter() - start) / CALLS * 1e6


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--rounds", metavar="N", type=command_line.count, default=5, help="runs of each")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    names = ["--input", "image", "--output", "output_0"]
    made = [sys.executable, "cookbook/savedmodel_from_frozen.py", "--model", FILES["frozen graph"], *names]
    measure.run([*made, "--save", SAVED_MODEL])
    for path in FILES.values():
        if not Path(measure.ROOT, path).exists():
            sys.exit(f"formats.py: no {path} (run make models first)")
    os.chdir(measure.ROOT)
    image = np.load("results/images.npy")[:1]
    engines = {"LiteRT": in_litert, "LiteRT, int8": in_litert, "ONNX": in_onnx_runtime}
    runs = {name: engines.get(name, in_tensorflow)(path, image) for name, path in FILES.items()}
    taken = measure.in_turn(flags.rounds, {name: lambda run=run: microseconds(run) for name, run in runs.items()})
    title = "One image through a convolutional network"
    measure.table(title, "us", taken, "frozen graph")
    sizes = {name: [size_of(path) / 1000] for name, path in FILES.items()}
    measure.table("The same network on disk", "kB", sizes, "frozen graph")


if __name__ == "__main__":
    command_line.run(main)
