"""Makes the small models that every consumer is run on, each good for one thing, and lists them as checked.

python tests/small_models.py FOLDER
"""

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_import_export import digests, rows
from model_import_export.graph_mode import new_saved_model, tf


def x(shape: list[int | None] | None, dtype: str = "float64", name: str = "x") -> Any:
    """A placeholder."""
    return tf.placeholder(dtype, shape, name=name)


def line(name: str = "y") -> Any:
    """y = 1.5x - 3."""
    return tf.add(x([None, None]) * 1.5, -3.0, name=name)


def contract() -> None:
    """The contract's names, with others next to them."""
    sample = x([None, None], name="inputs/x_sample")
    tf.multiply(sample, 2.0, name="linear_regression/add")
    tf.multiply(sample, x([], name="factor"), name="other")


def on_device(device: str) -> None:
    with tf.device(device):
        line()


GRAPHS: dict[str, Callable[[], Any]] = {
    **{dtype: lambda dtype=dtype: tf.identity(x([None], dtype), name="y") for dtype in rows.TYPES},
    "line": line,
    "unlisted": lambda: line("z"),
    "contract": contract,
    "line32": lambda: tf.add(x([None, None], "float32") * 1.5, -3.0, name="y"),
    "quotient": lambda: tf.divide(x([None, None]), x([], name="k"), name="y"),
    "scalar": lambda: tf.multiply(x([]), 2.0, name="y"),
    "unknown": lambda: tf.multiply(x(None), 2.0, name="y"),
    "ten": lambda: tf.greater_equal(tf.reduce_sum(x([None, 10], "float32"), 1, keepdims=True), 47.5, name="y"),
    "pair": lambda: tf.multiply(x([None, 2]), [[1.0, 10.0]], name="y"),
    "total": lambda: tf.reduce_sum(x([None]), name="y"),
    "flip": lambda: tf.transpose(x([None, 2]), name="y"),
    "fixed": lambda: tf.negative(x([2, 3]), name="y"),
    "cube": lambda: tf.identity(x([None, None, 80]), name="y"),
    "image": lambda: tf.reduce_sum(x([None, 2, 2, 1], "float32"), [1, 2, 3], name="y"),
    "empty_row": lambda: tf.identity(x([None, 0]), name="y"),
    "huge_row": lambda: tf.reduce_sum(x([None, 1 << 62, 4]), [1, 2], name="y"),
    "huge_dimension": lambda: tf.reduce_sum(x([None, (1 << 63) - 1]), 1, name="y"),
    "split": lambda: tf.split(x([None, 2]), 2, axis=1, name="y"),
    "joined": lambda: tf.string_join([x([], "string"), "!"], name="y"),
    "gathered": lambda: tf.gather(tf.constant([1.0, 2.0]), x([None], "int32"), name="y"),
    "constant": lambda: tf.constant(3.0, tf.float64) * tf.constant(2.0, tf.float64),
    "complex": lambda: tf.complex(x([None]), 1.0 + 0 * x([None], name="k"), name="y"),
    "tanh": lambda: tf.tanh(x([None, None]), name="y"),
    "on_gpu": lambda: on_device("/device:GPU:0"),
    "on_ps": lambda: on_device("/job:ps/task:0/device:CPU:0"),
}


def write_saved_model(folder: Path) -> None:
    """A SavedModel with two tags and two signatures."""
    with tf.Graph().as_default(), tf.Session() as session:
        source = x([None, None], name="in")
        slope = tf.get_variable("slope", initializer=tf.constant(1.4999940262704623, tf.float64))
        intercept = tf.get_variable("intercept", initializer=tf.constant(-3.0006167485345174, tf.float64))
        y = slope * source + intercept
        session.run(tf.global_variables_initializer())
        predict = tf.saved_model.predict_signature_def
        signatures = {
            "serving_default": predict({"x": source}, {"y": y}),
            "two": predict({"x": source}, {"once": y, "twice": y + y}),
        }
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.add_meta_graph(["serve", "gpu"], signatures)
        builder.save()


def make(folder: Path) -> Path:
    """Writes all models."""
    for name, build in GRAPHS.items():
        with tf.Graph().as_default() as graph:
            build()
        (folder / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())
    write_saved_model(folder / "saved")
    shutil.copytree(folder / "saved", folder / "text")
    saved_model = new_saved_model()
    saved_model.ParseFromString((folder / "text" / "saved_model.pb").read_bytes())
    (folder / "text" / "saved_model.pb").unlink()
    (folder / "text" / "saved_model.pbtxt").write_text(str(saved_model))
    shutil.copytree(folder / "saved", folder / "saved_on_ps")
    saved_model.ParseFromString((folder / "saved" / "saved_model.pb").read_bytes())
    for node in saved_model.meta_graphs[0].graph_def.node:
        node.device = "/job:ps/task:0"
    (folder / "saved_on_ps" / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    files = [str(path) for path in sorted(folder.glob("*.pb")) if path.stem != "unlisted"]
    for name in ("saved", "text", "saved_on_ps"):
        files += digests.files_of(str(folder / name))
    digests.add(str(folder / digests.CHECKED), [(file, digests.digest(file)) for file in files])
    # Not a model, or not one that was checked.
    for name, kind in (("unlisted_saved", None), ("linked", os.symlink), ("piped", os.mkfifo)):
        shutil.copytree(folder / "saved", folder / name)
        extra = folder / name / "extra"
        if kind is os.symlink:
            extra.symlink_to("/etc/passwd")
        elif kind:
            kind(extra)
        else:
            extra.write_text(name)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo.pb")
    (folder / "empty.pb").touch()
    (folder / "random.pb").write_bytes(bytes(range(256)))
    (folder / "text.pb").write_text("node { name: 'x' op: 'NoOp' }\n")
    (folder / "model.keras").write_bytes(b"PK")
    (folder / "saver").mkdir()
    (folder / "saver" / "checkpoint").write_text('model_checkpoint_path: "m"\n')
    (folder / "m.ckpt-1.meta").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
