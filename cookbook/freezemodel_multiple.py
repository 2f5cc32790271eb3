"""Runs several frozen models in one process: chained in one graph under prefixes, and each in its own graph.

    python cookbook/freezemodel_multiple.py

Reads frozen_graphs/frozen_linear_regression.pb (freeze_graph_linear_regression.sh) and results/frozen_model.pb
(freezemodel_save.py).
"""

import argparse
from typing import Any, NamedTuple

import artefacts
import classifier
from model_import_export import command_line, model_file, rows, tensors
from model_import_export.graph_mode import tf

import numpy as np


class Frozen(NamedTuple):
    """A frozen graph, and the nodes to feed and fetch."""

    graph_def: Any
    input: str
    output: str

    @classmethod
    def read(cls, path: str, source: str, target: str) -> "Frozen":
        """Reads the graph from a file. Raises ModelError, OSError, or ValueError if it lacks one of the nodes."""
        graph_def = model_file.read_frozen_graph(path)
        lacking = {source, target} - {node.name for node in graph_def.node}
        if lacking:
            raise ValueError(f"no such node: {', '.join(sorted(lacking))} in {path}")
        return cls(graph_def, source, target)


def run_in_one_graph(line: Frozen, sums: Frozen, x: np.ndarray) -> list[np.ndarray]:
    """Imports both under prefixes, feeds the line's output to the classifier, and fetches all results in one `run`."""
    with tf.Graph().as_default() as graph:
        (y,) = tf.import_graph_def(line.graph_def, name="line", return_elements=[f"{line.output}:0"])
        tf.import_graph_def(sums.graph_def, name="sums")
        # `input_map` replaces a placeholder by a tensor, which must have the placeholder's dtype.
        (chained,) = tf.import_graph_def(
            sums.graph_def, {f"{sums.input}:0": tf.cast(y, tf.float32)}, [f"{sums.output}:0"], name="chained"
        )
        feed = {f"line/{line.input}:0": x, f"sums/{sums.input}:0": x.astype(np.float32)}
        with tf.Session(graph=graph) as session:
            return session.run([y, f"sums/{sums.output}:0", chained], feed)


def run_apart(model: Frozen, x: np.ndarray) -> np.ndarray:
    """Runs a model in its own graph and session: no prefix, no shared names, and it can be closed alone."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model.graph_def, name="")
        with tf.Session(graph=graph) as session:
            return session.run(f"{model.output}:0", {f"{model.input}:0": x})


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--line", metavar="FILE", default=artefacts.REGRESSION, help="the frozen regression")
    parser.add_argument("--sums", metavar="FILE", default=artefacts.FROZEN, help="the frozen classifier")
    parser.add_argument(
        "--x", metavar="LIST", default="5,5,5,5,5,5,5,5,5,5", help="ten comma-separated numbers for both models"
    )
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    line = Frozen.read(artefacts.need_checked(flags.line, flags), tensors.INPUT, tensors.OUTPUT)
    sums = Frozen.read(artefacts.need_checked(flags.sums, flags), classifier.INPUT, classifier.OUTPUT)
    ten = rows.Placeholder(sums.input, "float64", (-1, classifier.INPUTS))
    x = rows.make_feed(ten, flags.x, "--x")

    together = run_in_one_graph(line, sums, x)
    y = run_apart(line, x)
    apart = [y, run_apart(sums, x.astype(np.float32)), run_apart(sums, y.astype(np.float32))]
    for name, results in zip(("the line", "the classifier", "the classifier of the line"), together, strict=True):
        print(f"{name}: {results.tolist()}")
    if not all(map(np.array_equal, together, apart)):
        raise ValueError(f"not the same results in separate graphs: {flags.line}, {flags.sums}")
    print("each in its own graph: the same results")


if __name__ == "__main__":
    command_line.run(main)
