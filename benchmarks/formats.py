"""Compares the formats of one model, a small convolutional network: their sizes, and the time for one image in each.

    python benchmarks/formats.py

Reads   frozen_graphs/cnn.pb, results/images.npy, results/cnn.tflite, results/cnn_int8.tflite (make cookbook)
Writes  results/cnn_savedmodel, results/cnn.onnx

Every engine calculates in one thread, one image at a time. The conversion to ONNX runs in its own environment
(make .cache/tf2onnx/complete).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measure
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import make_callable, session_config, tf, without_log_noise

import numpy as np

CALLS = 2_000
IMAGES = "results/images.npy"
FILES = {
    "frozen graph": "frozen_graphs/cnn.pb",
    "SavedModel": "results/cnn_savedmodel",
    "LiteRT": "results/cnn.tflite",
    "LiteRT, int8": "results/cnn_int8.tflite",
    "ONNX": "results/cnn.onnx",
}
CONVERTER = ".cache/tf2onnx/bin/python"
DIFFERENCE = 0.01  # in a probability; 8 bits cost half of it
Run = Callable[[], object]


def size_of(path: str) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(os.path.getsize(file) for file in model_file.files_of(path))


def in_tensorflow(path: str, image: np.ndarray) -> Run:
    """Returns a function that runs one image in a session."""
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
    """Returns a function that runs one image in LiteRT's interpreter."""
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
    """Returns a function that runs one image in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})


def convert() -> None:
    """Makes the SavedModel and the ONNX file from the frozen graph. Exits if something that they need is missing."""
    made = {path: "make cookbook" for name, path in FILES.items() if name not in ("SavedModel", "ONNX")}
    for path, maker in ({IMAGES: "make models"} | made | {CONVERTER: "make .cache/tf2onnx/complete"}).items():
        if not Path(measure.ROOT, path).exists():
            command_line.fail(f"no such file: {path} (run {maker} first)")
    frozen = ["--model", FILES["frozen graph"], "--save"]
    keys = ["--input", "image", "--output", "output_0"]
    measure.run([sys.executable, "cookbook/savedmodel_from_frozen.py", *frozen, FILES["SavedModel"], *keys])
    measure.run([CONVERTER, "cookbook/freezemodel_to_onnx.py", *frozen, FILES["ONNX"]])


def check(runs: dict[str, Run]) -> None:
    """Compares the results before anything is measured. Exits if a format's results differ from the frozen graph's."""
    results = {name: np.ravel(run()) for name, run in runs.items()}
    for name, result in results.items():
        if not np.allclose(result, results["frozen graph"], rtol=0, atol=DIFFERENCE):
            command_line.fail(f"not the results of the frozen graph: {FILES[name]}")


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
    os.chdir(measure.ROOT)
    convert()
    image = np.load(IMAGES)[:1]
    engines = {"LiteRT": in_litert, "LiteRT, int8": in_litert, "ONNX": in_onnx_runtime}
    with without_log_noise():
        runs = {name: engines.get(name, in_tensorflow)(path, image) for name, path in FILES.items()}
    check(runs)
    taken = measure.in_turn(flags.rounds, {name: lambda run=run: microseconds(run) for name, run in runs.items()})
    title = "One image through a convolutional network"
    measure.table(title, "us", taken, "frozen graph")
    sizes = {name: [size_of(path) / 1000] for name, path in FILES.items()}
    measure.table("The same network on disk", "kB", sizes, "frozen graph")


if __name__ == "__main__":
    command_line.run(main)
