"""Converts frozen graphs to LiteRT (formerly TensorFlow Lite), for mobile and embedded devices, and compares results.

    python cookbook/freezemodel_to_litert.py

Reads   results/frozen_model.pb (freezemodel_save.py), frozen_graphs/frozen_linear_regression.pb
        (freeze_graph_linear_regression.sh), frozen_graphs/cnn.pb and results/images.npy (make models)
Writes  results/classifier.tflite, results/line.tflite, results/cnn.tflite, cnn_dynamic.tflite and cnn_int8.tflite
"""

import argparse
from pathlib import Path

import artefacts
import classifier
import litert
from model_import_export import command_line, model_file, rows, tensors
from model_import_export.digests import write_whole
from model_import_export.graph_mode import session_config, tf, without_log_noise

import numpy as np

TOLERANCE = 1e-5  # of float32
CLASSIFIER, LINE = Path("results/classifier.tflite"), Path("results/line.tflite")


def convert_classifier(flags: argparse.Namespace) -> None:
    """Converts a float32 graph as it is."""
    sums = litert.read(artefacts.need_checked(artefacts.FROZEN, flags))
    converted = sums.convert()
    write_whole(CLASSIFIER, converted)
    results = litert.interpret(converted, classifier.EXAMPLES)
    if not np.array_equal(results, sums.run(classifier.EXAMPLES)):
        raise ValueError(f"not equal to the results of {artefacts.FROZEN}: {CLASSIFIER}")
    print(f"{CLASSIFIER}: {results.tolist()}, as from the frozen graph")


def convert_line(flags: argparse.Namespace) -> None:
    """Converts a float64 graph, which has to be cast to float32 first."""
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(artefacts.REGRESSION, flags))
    x = np.array([[0.0, 1.0, -1.0, 2.0]])
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        expected = session.run(ends.find_output(None), {ends.find_input(None): x})
    converted = litert.Frozen(litert.as_float32(graph_def), artefacts.REGRESSION).convert()
    write_whole(LINE, converted)
    if not np.allclose(litert.interpret(converted, x.astype(np.float32)), expected, rtol=0, atol=1e-6):
        raise ValueError(f"not equal to the results of {artefacts.REGRESSION} to 1e-6: {LINE}")
    print(f"{LINE}: the regression in float32, equal to 1e-6")


def convert_cnn(cnn: litert.Frozen, images: np.ndarray, flags: argparse.Namespace) -> None:
    """Converts a convolutional network, in float32 and quantized, and prints a table."""
    expected = cnn.run(images)
    print(f"{'format':<16}{'bytes':>8}{'largest difference':>20}{'same class':>12}")
    print(f"{'frozen graph':<16}{cnn.graph_def.ByteSize():>8}")
    for name, suffix, configure in (
        ("float32", "", lambda _: None),
        ("dynamic range", "_dynamic", litert.quantize_weights),
        ("int8", "_int8", litert.quantize_all(images)),
    ):
        converted = cnn.convert(configure)
        write_whole(flags.save.with_stem(flags.save.stem + suffix), converted)
        results = litert.interpret(converted, images)
        difference = float(np.abs(results - expected).max())
        if np.isnan(difference) or name == "float32" and difference > TOLERANCE:
            raise ValueError(f"not equal to the results of {flags.model}: {name} differs by {difference}")
        shown = f"{difference:.3f}" if difference > TOLERANCE else f"below {TOLERANCE}"
        same = int((results.argmax(axis=-1) == expected.argmax(axis=-1)).sum())
        print(f"{name:<16}{len(converted):>8}{shown:>20}{f'{same} of {len(images)}':>12}")


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.CNN, help="frozen float32 graph to convert")
    parser.add_argument("--images", metavar="FILE.npy", default=artefacts.IMAGES, help="sample of its inputs")
    parser.add_argument("--save", metavar="FILE", type=Path, default="results/cnn.tflite", help="model to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    with without_log_noise():
        cnn = litert.read(artefacts.need_checked(flags.model, flags))
        images = rows.load_array(tensors.placeholder_of(cnn.input), artefacts.need(flags.images))
        convert_classifier(flags)
        convert_line(flags)
        convert_cnn(cnn, images, flags)


if __name__ == "__main__":
    command_line.run(main)
