"""Compares the consumers with a minimal C program on the same library, mawk and ONNX Runtime.

    python benchmarks/consumers.py

Standard input gets numbers of 15 to 17 digits; mawk does the same arithmetic on them.
"""

import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from measure import ROOT, in_turn, run, scratch_folder, table
from model_import_export import command_line

MODEL = "frozen_graphs/frozen_linear_regression.pb"
CALLS = 50_000
GO = ["go_consumer/go_consumer"]
JAVA = ["java", "-jar", "java_consumer/target/java_consumer.jar"]
CLASSES = "java_consumer/target/test-classes:java_consumer/target/java_consumer.jar"
PYTHON = [sys.executable, "model_consumer.py", "--model", MODEL]
# Prints the microseconds per call of model_consumer.run.
PYTHON_CALL = f"""
import sys, time
sys.argv[1:] = ["--model", "{MODEL}"]
import model_consumer as consumer
flags = consumer.parse_arguments()
model = consumer.find_model(flags)
loaded = consumer.load_graph(model)
arrays, outputs = consumer.feed(loaded, model, flags), [loaded.ends.find_output(None)]
for calls in ({CALLS // 10}, {CALLS}):
    start = time.perf_counter()
    for _ in range(calls):
        consumer.run(loaded, outputs, arrays)
print((time.perf_counter() - start) / {CALLS} * 1e6)
"""
# The same two operations in ONNX Runtime, on the same thread.
ONNX_CALL = f"""
import time
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
nodes = [helper.make_node("Mul", ["x", "slope"], ["z"]), helper.make_node("Add", ["z", "intercept"], ["y"])]
ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, None]) for name in "xy"]
variables = {{"slope": 1.5000040359253224, "intercept": -2.9987834928787795}}
values = [numpy_helper.from_array(np.array(value), name) for name, value in variables.items()]
graph = helper.make_graph(nodes, "line", ends[:1], ends[1:], values)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
for calls in ({CALLS // 10}, {CALLS}):
    start = time.perf_counter()
    for _ in range(calls):
        session.run(["y"], {{"x": np.array([[0.0, 1.0, -1.0, 2.0]])}})
print((time.perf_counter() - start) / {CALLS} * 1e6)
"""


def build_floor(folder: Path) -> str:
    """Compiles the cookbook's C program against the library that the Go consumer is built with."""
    floor = folder / "floor"
    compile_it = f'gcc -O2 -o "{floor}" $CGO_CFLAGS cookbook/freezemodel_c_library.c $CGO_LDFLAGS -ltensorflow'
    subprocess.run(["bash", "-c", f". go_consumer/env.sh && {compile_it}"], cwd=ROOT, check=True)
    return str(floor)


def write_numbers(path: Path, count: int) -> None:
    source = random.Random(1)
    with open(path, "w") as file:
        for _ in range(0, count, 1000):
            file.write("".join(f"{source.random() * 100!r}\n" for _ in range(1000)))


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=3, help="runs of each; of whole processes, at least 5"
    )
    parser.add_argument("--numbers", metavar="N", type=int, default=20_000_000, help="on standard input")
    flags = parser.parse_args()
    for needed, target in ((MODEL, "run"), (GO[0], "go"), (JAVA[2], "java")):
        if not (ROOT / needed).exists():
            sys.exit(f"consumers.py: no {needed} (run make {target} first)")
    if not shutil.which("mawk"):
        sys.exit("consumers.py: no mawk (on Debian and Ubuntu: apt-get install mawk)")

    with scratch_folder() as scratch:
        floor = build_floor(scratch)
        programs = {"C": [floor, MODEL], "Go": GO, "Java": JAVA, "Python": PYTHON}

        library = [sys.executable, "cookbook/freezemodel_c_library.py"]
        whole = {"C, its library alone": [floor, "--version"], **programs, "Python, the C library alone": library}
        taken = in_turn(max(5, flags.rounds), {n: lambda c=c: run(c).seconds for n, c in whole.items()})
        targets = {"Go": "<= 1.05", "Java": "<= 2.8"}
        table("A whole process on 4 numbers", "s", taken, "C", targets)

        benchmark = ["go", "test", "./go_consumer", "-run", "none", "-bench", "Run", "-benchtime", f"{CALLS}x"]
        go_call = ["bash", "-c", f". go_consumer/env.sh && {' '.join(benchmark)} | awk '/ns.op/ {{ print $3 / 1000 }}'"]
        calls = {
            "C": [floor, MODEL, "0,1,-1,2", str(CALLS)],
            "Go": go_call,
            "Java": ["java", "-cp", CLASSES, "modelimportexport.WarmCall", MODEL, str(CALLS)],
            "Python": [sys.executable, "-c", PYTHON_CALL],
            "ONNX Runtime in Python": [sys.executable, "-c", ONNX_CALL],
        }
        taken = in_turn(flags.rounds, {n: lambda c=c: float(run(c, keep=True).output) for n, c in calls.items()})
        targets = {"Go": "<= 3.5", "Java": "<= 5"}
        table("A warm call on 4 numbers", "us", taken, "C", targets)

        tenth, numbers = scratch / "tenth", scratch / "numbers"
        write_numbers(tenth, flags.numbers // 10)
        write_numbers(numbers, flags.numbers)
        awk = {"mawk": ["mawk", '{printf "%.17g\\n", 1.5000040359253224*$1-2.9987834928787795}']}
        streams = {name: [*command, "--stdin"] for name, command in programs.items() if name != "C"}
        runs = {(name, path): partial(run, c, path) for name, c in streams.items() for path in (tenth, numbers)}
        runs |= {(name, numbers): partial(run, c, numbers) for name, c in awk.items()}
        used = in_turn(flags.rounds, runs)
        taken = {name: [u.seconds for u in used[name, numbers]] for name in awk | streams}
        targets = {"Go": ">= 4", "Java": ">= 3", "Python": ">= 0.5"}
        table(f"--stdin, {flags.numbers:,} numbers", "s", taken, "mawk", targets, "throughput")
        for name in streams:
            sizes = {f"{flags.numbers // 10:,} numbers": tenth, f"{flags.numbers:,} numbers": numbers}
            taken = {size: [u.megabytes for u in used[name, path]] for size, path in sizes.items()}
            table(f"{name} --stdin, as the numbers grow", "MB", taken, next(iter(sizes)))


if __name__ == "__main__":
    main()
