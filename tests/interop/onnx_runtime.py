"""Converts the exports with tf2onnx and runs them with ONNX Runtime."""

import os
import subprocess
import sys

import numpy as np
import onnxruntime
from compare import compare_all


def calculate(path: str, x: np.ndarray) -> np.ndarray:
    os.makedirs(".cache/onnx", exist_ok=True)
    converted = f".cache/onnx/{path.replace('/', '_')}.onnx"
    source = ["--saved-model", path]
    if path.endswith(".pb"):
        ends = {
            "frozen_graphs/frozen_linear_regression.pb": ("inputs/x_sample:0", "linear_regression/add:0"),
            "results/frozen_keras_model.pb": ("input0:0", "output0:0"),
            "results/frozen_model.pb": ("Placeholder/inputs_placeholder:0", "Accuracy/predictions:0"),
        }[path]
        source = ["--graphdef", path, "--inputs", ends[0], "--outputs", ends[1]]
    command = [sys.executable, "-m", "tf2onnx.convert", *source, "--output", converted]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        raise SystemExit(f"tf2onnx: {path}: {done.stderr[-2000:]}")
    session = onnxruntime.InferenceSession(converted, providers=["CPUExecutionProvider"])
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    return session.run([target.name], {source.name: x})[0]


if __name__ == "__main__":
    compare_all("tf2onnx and ONNX Runtime", calculate, float64=1e-12)
