"""Reads the exports with OpenVINO's own reader of TensorFlow files, and runs them.

OpenVINO runs a float64 graph in float32, so its results agree only to 1e-6. On a processor with bfloat16 it would run a
float32 graph in that type, which is accurate to 1 %, unless it is told not to.
"""

import numpy as np
import openvino
from compare import compare_all


def calculate(path: str, x: np.ndarray) -> np.ndarray:
    model = openvino.Core().read_model(path)
    return np.asarray(openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0])


if __name__ == "__main__":
    compare_all("OpenVINO", calculate, float64=1e-6)
