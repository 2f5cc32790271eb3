"""SavedModels for the tests of the model server, each good for one thing; their answers are arithmetic.

python tests/serving_models.py FOLDER writes those that only TensorFlow 2 makes.
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
    """Whether ten float32 add up to 47.5 at least."""
    source = x([None, 10], "float32")
    return {"inputs_1": source}, {"output1": tf.reduce_sum(source, 1, keepdims=True) >= 47.5}


def half_plus_two() -> dict[str, Any]:
    """0.5x + 2, float32 `[?, 1]`, fed behind the parsing of examples, which another signature begins with."""
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
    """A string of rank 0, as it is."""
    source = x([], "string")
    return {"inputs": source}, {"outputs": tf.identity(source)}


def texts() -> Signature:
    """Strings, as they are."""
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
    """A number that counts; its signatures have no input, and its output is a reference."""
    count = tf.get_variable("count", initializer=0.0, use_resource=False)
    return {"get": predict({}, {"output": count}), "add": predict({}, {"output": tf.assign_add(count, 1.0)})}


def types() -> dict[str, Any]:
    """A signature for each type: the input as it is."""
    names = "float16 bfloat16 float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool".split()
    sources = {name: x([None], name, f"x_{name}") for name in names}
    return {name: predict({"x": source}, {"y": tf.identity(source)}) for name, source in sources.items()}


def image() -> Signature:
    """A convolution of images of 28 by 28 by weights of 1: the sum of 3 by 3 points for each, 128 times."""
    source = x([None, 28, 28, 1], "float32")
    y = tf.nn.conv2d(source, tf.ones([3, 3, 1, 128]), 1, "VALID")
    return {"x": source}, {"y": tf.reduce_sum(y, [1, 2])}


def large_image() -> Signature:
    """A convolution of which two images at once would be too large."""
    source = x([None, 1024, 1024, 1], "float32")
    y = tf.nn.conv2d(source, tf.ones([3, 3, 1, 10]), 1, "SAME")
    return {"x": source}, {"y": tf.reduce_sum(y, [1, 2])}


def two_sizes() -> dict[str, Any]:
    """A signature that takes few rows, and one that takes as many as the server does."""
    source = x([None], name="few")
    return {"image": predict(*image()), "serving_default": predict({"x": source}, {"y": source + 1.0})}


def product() -> Signature:
    """x transposed times x: grows with the square of the numbers."""
    source = x([None, None])
    return {"x": source}, {"y": tf.reduce_sum(tf.matmul(source, source, transpose_a=True))}


def wide_examples() -> dict[str, Any]:
    """An example of a few bytes becomes a tensor of 100,000 numbers."""
    examples = x([None], "string", "examples")
    feature = tf.FixedLenFeature([100_000], tf.float32, default_value=[1.0] * 100_000)
    total = tf.reduce_sum(tf.io.parse_example(examples, {"x": feature})["x"], 1, keepdims=True)
    return {"serving_default": tf.saved_model.regression_signature_def(examples, total)}


def unused_placeholder() -> Signature:
    """y = 2x; a placeholder that no signature needs, and reading a file, which no signature asks for."""
    source = x([None])
    tf.io.read_file(x([], "string", "name"))
    return {"x": source}, {"y": 2 * source}


def behind_the_feed() -> Signature:
    """y = 3x, where x is fed in place of the size of a file."""
    source = tf.placeholder_with_default(tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float64), None)
    return {"x": source}, {"y": 3 * source}


def no_shape() -> Signature:
    """y = 4x; the shape is unknown."""
    source = x(None)
    return {"x": source}, {"y": 4 * source}


def on_devices() -> Signature:
    """y = 5x; `save` has its nodes on devices that are not here."""
    source = x([None])
    v = tf.get_variable("v", initializer=tf.constant(5.0, tf.float64), use_resource=True)
    return {"x": source}, {"y": source * v}


def many() -> Signature:
    """The sum of twenty inputs, float32 `[?]` each."""
    sources = {f"feature_{i}": x([None], "float32", f"feature_{i}") for i in range(20)}
    return sources, {"y": tf.add_n(list(sources.values()))}


def photo() -> Signature:
    """The sum of the points of each image of 96 by 96 in three colors."""
    source = x([None, 96, 96, 3], "float32")
    return {"x": source}, {"y": tf.reduce_sum(source, [1, 2, 3])}


def aborting() -> Signature:
    """`save` has its constant hold an int32, where it is a float64: TensorFlow aborts when it prepares the run."""
    source = x([None])
    return {"x": source}, {"y": source + 1.0}


def reads_a_file() -> Signature:
    """Reads /etc/passwd: refused."""
    source = x([None])
    return {"x": source}, {"y": source + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float64)}


def main() -> None:
    """Writes what only TensorFlow 2 makes: models with a function library, one of Keras."""
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
