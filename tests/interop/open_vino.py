"""Reads the exports with OpenVINO, which has a reader of TensorFlow's files of its own, and calculates them.

OpenVINO calculates a float64 graph in float32, so its results are equal to 1e-6 only. On a processor that has bfloat16
it would calculate a float32 graph in that, which is right to 1 %, unless it is told not to.
"""

import numpy as np
import openvino
from compare import compare_all


def calculate(path: str, x: np.ndarray) -> np.ndarray:
    model = openvino.Core().read_model(path)
    return np.asarray(openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0])


if __name__ == "__main__":
    compare_all("OpenVINO", calculate, float64=1e-6)
