"""SavedModels for the tests of the model server, each with one purpose; their results are simple arithmetic.

python tests/serving_models.py FOLDER writes those that only TensorFlow 2 can make.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model_import_export.graph_mode import new_saved_model, tf

Signature = tuple[Mapping[str, Any], Mapping[str, Any]]


def x(shape: list[int | None] | None, dtype: str = "float64", name: str = "x") -> Any:
    """A placeholder."""
    return tf.placeholder(dtype, shape, name=name)


def save(path: Path, build: Callable[[], Any], tags: tuple[str, ...] = ("serve",)) -> Path:
    """Writes a SavedModel.

    Args:
        build: builds the graph. Returns inputs and outputs for `serving_default`, or signatures by name.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        built = build()
        signatures = built if isinstance(built, dict) else {"serving_default": predict(*built)}
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, list(tags), signatures)
        builder.save()
    if build in (on_devices, aborting):
        saved_model = new_saved_model()
        saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
        for i, node in enumerate(saved_model.meta_graphs[0].graph_def.node):
            if build is on_devices:
                node.device = ("/device:GPU:0", "/job:ps/task:0/device:CPU:0")[i % 2]
            elif node.op == "Const":
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1))
        (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return path


def predict(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """A signature of the predict method."""
    infos = (
        {key: tf.saved_model.build_tensor_info(part) for key, part in parts.items()} for parts in (inputs, outputs)
    )
    return tf.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")


def plus(offset: float) -> Callable[[], Signature]:
    """y = x + offset, a variable; x is float64 `[?]`."""

    def build() -> Signature:
        source = x([None])
        return {"x": source}, {"y": source + tf.get_variable("v", initializer=tf.constant(offset, tf.float64))}

    return build


def line() -> Signature:
    """y = 1.5x - 3, float64 `[?, ?]`."""
    source = x([None, None])
    slope = tf.get_variable("slope", initializer=tf.constant(1.5, tf.float64))
    return {"x": source}, {"y": slope * source - 3.0}


def sums() -> Signature:
    """Whether ten float32 numbers add up to 47.5 or more."""
    source = x([None, 10], "float32")
    return {"inputs_1": source}, {"output1": tf.reduce_sum(source, 1, keepdims=True) >= 47.5}


def half_plus_two() -> dict[str, Any]:
    """0.5x + 2, float32 `[?, 1]`, fed after the step that parses examples, with which other signatures begin."""
    examples = x([None], "string", "examples")
    parsed = tf.io.parse_example(examples, {"x": tf.FixedLenFeature([1], tf.float32)})
    source = tf.identity(parsed["x"], "x")
    y = tf.add(0.5 * source, 2.0, "y")
    labels = tf.where(y >= 3.0, tf.fill(tf.shape(y), "high"), tf.fill(tf.shape(y), "low"))
    return {
        "serving_default": predict({"x": source}, {"y": y}),
        "classification": tf.saved_model.classification_signature_def(examples, labels, y),
        "regression": tf.saved_model.regression_signature_def(examples, y),
    }


def slow() -> Signature:
    """About half a second of multiplications, none of which can be done before x is known; y = x."""
    source, weights = x([None]), tf.constant(1e-3, tf.float64, [1000, 1000])
    y = weights + tf.reduce_max(source)
    for _ in range(6):
        y = tf.matmul(y, weights)
    return {"x": source}, {"y": source + tf.reduce_min(y) * 0}


def text() -> Signature:
    """Returns its input, a string of rank 0."""
    source = x([], "string")
    return {"inputs": source}, {"outputs": tf.identity(source)}


def texts() -> Signature:
    """Returns its input, strings."""
    source = x([None], "string")
    return {"inputs": source}, {"outputs_bytes": tf.identity(source)}


def pair() -> Signature:
    """Two inputs and two outputs."""
    a, b = x([None], name="a"), x([None, 2], name="b")
    return {"a": a, "b": b}, {"sum": a + tf.reduce_sum(b, 1), "rows": b}


def scalars() -> Signature:
    """a * b, both of rank 0."""
    a, b = x([], name="a"), x([], name="b")
    return {"a": a, "b": b}, {"y": a * b}


def one_row() -> Signature:
    """The square of a number, `[1]`."""
    source = x([1])
    return {"x": source}, {"y": source * source}


def counter() -> dict[str, Any]:
    """A counter. Its signatures have no input, and its output is a reference."""
    count = tf.get_variable("count", initializer=0.0, use_resource=False)
    return {"get": predict({}, {"output": count}), "add": predict({}, {"output": tf.assign_add(count, 1.0)})}


def types() -> dict[str, Any]:
    """One signature per type, which returns its input."""
    names = "float16 bfloat16 float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool".split()
    sources = {name: x([None], name, f"x_{name}") for name in names}
    return {name: predict({"x": source}, {"y": tf.identity(source)}) for name, source in sources.items()}


def image() -> Signature:
    """A convolution of 28 by 28 images with weights of 1: the sum of 3 by 3 points for each, 128 times."""
    source = x([None, 28, 28, 1], "float32")
    y = tf.nn.conv2d(source, tf.ones([3, 3, 1, 128]), 1, "VALID")
    return {"x": source}, {"y": tf.reduce_sum(y, [1, 2])}


def large_image() -> Signature:
    """A convolution that would be too large for two images at once."""
    source = x([None, 1024, 1024, 1], "float32")
    y = tf.nn.conv2d(source, tf.ones([3, 3, 1, 10]), 1, "SAME")
    return {"x": source}, {"y": tf.reduce_sum(y, [1, 2])}


def two_sizes() -> dict[str, Any]:
    """A signature that takes few rows, and one that takes as many as the server."""
    source = x([None], name="few")
    return {"image": predict(*image()), "serving_default": predict({"x": source}, {"y": source + 1.0})}


def product() -> Signature:
    """x transposed times x: it grows with the square of the numbers."""
    source = x([None, None])
    return {"x": source}, {"y": tf.reduce_sum(tf.matmul(source, source, transpose_a=True))}


def wide_examples() -> dict[str, Any]:
    """An example of a few bytes becomes a tensor of 100,000 numbers."""
    examples = x([None], "string", "examples")
    feature = tf.FixedLenFeature([100_000], tf.float32, default_value=[1.0] * 100_000)
    total = tf.reduce_sum(tf.io.parse_example(examples, {"x": feature})["x"], 1, keepdims=True)
    return {"serving_default": tf.saved_model.regression_signature_def(examples, total)}


def unused_placeholder() -> Signature:
    """y = 2x, with a placeholder that no signature needs, and reading a file, which no signature asks for."""
    source = x([None])
    tf.io.read_file(x([], "string", "name"))
    return {"x": source}, {"y": 2 * source}


def behind_the_feed() -> Signature:
    """y = 3x, where x is fed instead of the size of a file."""
    source = tf.placeholder_with_default(tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float64), None)
    return {"x": source}, {"y": 3 * source}


def no_shape() -> Signature:
    """y = 4x, with an unknown shape."""
    source = x(None)
    return {"x": source}, {"y": 4 * source}


def on_devices() -> Signature:
    """y = 5x; `save` puts its nodes on devices that this machine lacks."""
    source = x([None])
    v = tf.get_variable("v", initializer=tf.constant(5.0, tf.float64), use_resource=True)
    return {"x": source}, {"y": source * v}


def many() -> Signature:
    """The sum of twenty inputs, float32 `[?]` each."""
    sources = {f"feature_{i}": x([None], "float32", f"feature_{i}") for i in range(20)}
    return sources, {"y": tf.add_n(list(sources.values()))}


def photo() -> Signature:
    """The sum of the points of each 96 by 96 image in three colors."""
    source = x([None, 96, 96, 3], "float32")
    return {"x": source}, {"y": tf.reduce_sum(source, [1, 2, 3])}


def aborting() -> Signature:
    """`save` puts an int32 into its float64 constant: TensorFlow aborts when it prepares the run."""
    source = x([None])
    return {"x": source}, {"y": source + 1.0}


def reads_a_file() -> Signature:
    """Reads /etc/passwd, so it is refused."""
    source = x([None])
    return {"x": source}, {"y": source + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float64)}


def main() -> None:
    """Writes the models that only TensorFlow 2 can make: models with a function library, and one from Keras."""
    import tensorflow

    folder = Path(sys.argv[1])
    keras = tensorflow.keras
    layers = [keras.Input([4], name="x"), keras.layers.Dense(3, "relu", kernel_initializer="ones"),
              keras.layers.Dense(1, kernel_initializer="ones", name="y")]  # fmt: skip
    keras.Sequential(layers).export(str(folder / "keras" / "1"), verbose=False)
    module = tensorflow.Module()
    module.v = tensorflow.Variable(7.0, dtype=tensorflow.float64)
    spec = tensorflow.TensorSpec([None], tensorflow.float64, "x")
    module.f = tensorflow.function(lambda x: {"y": x * module.v}, input_signature=[spec])
    tensorflow.saved_model.save(module, str(folder / "module" / "1"), signatures=module.f)


if __name__ == "__main__":
    main()
