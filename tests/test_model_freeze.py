"""Freezing any model: each kind of source becomes one frozen graph that calculates what the source does.

    python tests/test_model_freeze.py FOLDER

makes, in a separate process, the models that need TensorFlow 2 behaviour, and their results.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import model_freeze
from conftest import ROOT, run_command, run_program
from model_import_export import digests, graph_check
from model_import_export.graph_mode import import_tensorflow, session_config, tf

import numpy as np
import pytest

POINTS = np.array([[1.0, 2.0], [-0.5, 4.0], [0.0, 0.25]], np.float32)


def make_tensorflow_2(folder: Path) -> None:
    """Writes the models, and their results in `expected.npz`."""
    tensorflow = import_tensorflow()
    import keras
    import tensorflow as tf2

    tensorflow.enable_v2_behavior()
    os.chdir(folder)
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(3)
    expected: dict[str, np.ndarray] = {}

    class Line(tf2.Module):
        def __init__(self) -> None:
            self.slope = tf2.Variable(1.5)
            self.part = tf2.function(lambda x: x * self.slope if tf2.reduce_sum(x) > 1e9 else x * 2.0)

        @tf2.function(input_signature=[tf2.TensorSpec([None, 2], name="x")])
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"line": self.slope * x - 3.0, "part": self.part(x)}

    tf2.saved_model.save(Line(), "functions")

    class Words(tf2.Module):
        def __init__(self, file: bool) -> None:
            if file:
                index = tf2.lookup.TextFileIndex
                source = tf2.lookup.TextFileInitializer(
                    "words.txt", tf2.string, index.WHOLE_LINE, tf2.int64, index.LINE_NUMBER
                )
                self.table = tf2.lookup.StaticHashTable(source, -1)
            else:
                values = tf2.constant([10, 20, 30], tf2.int64)
                self.table = tf2.lookup.StaticHashTable(
                    tf2.lookup.KeyValueTensorInitializer(["a", "b", "c"], values), -1
                )

        @tf2.function(input_signature=[tf2.TensorSpec([None], tf2.string, "word")])
        def __call__(self, word: Any) -> dict[str, Any]:
            number = self.table.lookup(word)
            return {"number": number, "again": self.table.lookup(word) + number}

    Path("words.txt").write_text("a\nb\nc\n")
    for name, file in (("table", False), ("asset", True)):
        tf2.saved_model.save(Words(file), name)
    os.unlink("words.txt")

    layers = keras.layers
    image = keras.Sequential([
        keras.Input([8, 8, 1], name="image"), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5), layers.Dense(3, "softmax"),
    ])  # fmt: skip
    image.layers[1].set_weights([random.random(4) + 0.5 for _ in range(4)])
    expected["images"] = random.random([2, 8, 8, 1]).astype(np.float32)
    expected["image"] = image.predict(expected["images"], verbose=0)
    image.save("image.keras")
    image.save("image.h5")
    image.export("image", verbose=False)

    first, second = keras.Input([2], name="first"), keras.Input([2], name="second")
    both = keras.Model([first, second], {"sum": layers.Add()([first, second]), "dense": layers.Dense(3)(first)})
    expected["sum"] = POINTS + 1
    expected["dense"] = np.asarray(both.predict([POINTS, np.ones_like(POINTS)], verbose=0)["dense"])
    both.save("both.keras")
    both.export("both", verbose=False)

    numbers = keras.Input([4], dtype="int32", name="numbers")
    many = keras.Model(
        numbers, [layers.Lambda(lambda x, i=i: x + i)(numbers) for i in range(0)] or layers.Embedding(10, 3)(numbers)
    )
    expected["embedded"] = np.asarray(many.predict(np.array([[1, 2, 3, 9]]), verbose=0))
    many.save("embedding.keras")
    many.export("embedding", verbose=False)

    eleven = keras.Model(first, [layers.Rescaling(1.0, offset=float(i))(first) for i in range(11)])
    eleven.save("eleven.keras")

    recurrent = keras.Sequential([keras.Input([5, 2], name="series"), layers.LSTM(3), layers.Dense(1)])
    expected["series"] = random.random([2, 5, 2]).astype(np.float32)
    expected["recurrent"] = recurrent.predict(expected["series"], verbose=0)
    recurrent.export("recurrent", verbose=False)

    tf2.train.Checkpoint(v=tf2.Variable(1.0)).write("objects/model")
    np.savez("expected.npz", **expected)


@pytest.fixture(scope="session")
def tensorflow_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make_tensorflow_2` fills."""
    folder = tmp_path_factory.mktemp("tensorflow_2")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True, env=environment)
    return folder


@pytest.fixture
def freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the program with these flags in this process, into `frozen.pb`. Returns its output or its error."""
    monkeypatch.chdir(tmp_path)

    def run(*flags: object) -> str:
        monkeypatch.setattr(
            sys, "argv", ["model_freeze.py", *map(str, flags), "--save", "frozen.pb", "--checked", "SUMS"]
        )
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                model_freeze.main()
            except (ValueError, OSError) as error:
                return f"model_freeze.py: {error}"
        return out.getvalue()

    return run


def calculate(path: str | Path, feeds: dict[str, Any], *outputs: str) -> list[Any]:
    """TensorFlow's results for a frozen graph."""
    graph_def = tf.GraphDef.FromString(Path(path).read_bytes())
    with tf.Session(graph=tf.Graph(), config=session_config()) as session:
        with session.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        given = {name if ":" in name else f"{name}:0": value for name, value in feeds.items()}
        return session.run([f"{name}:0" for name in outputs], given)


def operations(path: str | Path) -> set[str]:
    """The operation types in a frozen graph."""
    return {node.op for node in tf.GraphDef.FromString(Path(path).read_bytes()).node}


# ----- checkpoints


def network(parts: int = 0, resource: bool = False) -> None:
    """y = 1.5 (x0 + x1) + 3, with what training adds around it."""
    x = tf.placeholder("float32", [None, 2], name="x")
    partitioner = tf.fixed_size_partitioner(parts) if parts else None
    with tf.variable_scope("layer", use_resource=resource):
        w = tf.get_variable("w", [2, 1], initializer=tf.constant_initializer(1.5), partitioner=partitioner)
        b = tf.get_variable("b", [1], initializer=tf.constant_initializer([3.0]))
    y = tf.add(tf.matmul(x, tf.convert_to_tensor(w)), b, name="y")
    loss = tf.reduce_mean((y - tf.placeholder("float32", [None, 1], name="label")) ** 2, name="loss")
    tf.train.AdamOptimizer().minimize(loss, global_step=tf.train.get_or_create_global_step())
    tf.summary.scalar("loss", loss)


def save(folder: Path, build: Callable[[], None] = network, **settings: Any) -> str:
    """Builds a graph and saves a checkpoint of its initial values. Returns the prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    meta, device = settings.pop("meta", True), settings.pop("device", "")
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        build()
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver(**settings).save(session, str(folder / "model.ckpt"), 7, write_meta_graph=meta)
        if not meta:
            tf.train.write_graph(graph, str(folder), "graph.pbtxt")
    if device:  # a device of the cluster that trained
        meta_graph = tf.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes())
        for node in meta_graph.graph_def.node:
            node.device = device
        Path(f"{prefix}.meta").write_bytes(meta_graph.SerializeToString())
    return prefix


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "of version 2": {},
    "of version 1": {"write_version": 1},
    "sharded": {"sharded": True},
    "partitioned": {"build": lambda: network(parts=2)},
    "of resource variables": {"build": lambda: network(resource=True)},
    "with devices": {"device": "/job:ps/task:1/device:GPU:3"},
    "without meta graph": {"meta": False},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(freeze: Callable[..., str], tmp_path: Path, kind: str) -> None:
    settings = dict(CHECKPOINTS[kind])
    prefix = save(tmp_path / "made", **settings)
    shutil.move(tmp_path / "made", tmp_path / "moved")
    prefix = prefix.replace("made", "moved")
    sources = [tmp_path / "moved", prefix, *([f"{prefix}.meta"] if settings.get("meta", True) else [])]
    for source in sources:
        lines = freeze("--model", source, "--output", "y").splitlines()
        assert re.fullmatch(rf"{re.escape(prefix)}: \d+ bytes; frozen\.pb: \d+ bytes", lines[0]), lines
        assert lines[1].startswith("equal to the source on a small input (largest difference ")
        assert lines[3:] == [
            "input  x float32 [?, 2]", "output y float32 [?, 1]", "pure calculation; its digest is in SUMS",
        ]  # fmt: skip
        assert digests.listed("SUMS") == {digests.digest("frozen.pb")}
        assert operations("frozen.pb") <= {"Placeholder", "Const", "Identity", "MatMul", "Add", "AddV2", "ConcatV2"}
        (y,) = calculate("frozen.pb", {"x": POINTS}, "y")
        assert y.ravel().tolist() == [7.5, 8.25, 3.375]
        Path("SUMS").unlink()


def normalized() -> None:
    """Batch normalization under a condition, as TensorFlow 1.x users wrote it, plus dropout and a default."""
    x = tf.placeholder("float32", [None, 2], name="x")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    keep_prob = tf.placeholder("float32", [], name="keep_prob")
    rate = tf.placeholder_with_default(0.0, [], name="rate")
    mean = tf.get_variable("mean", initializer=[0.5, 1.0], trainable=False)
    variance = tf.get_variable("variance", initializer=[4.0, 1.0], trainable=False)

    def train() -> tuple[Any, Any]:
        found = tf.nn.moments(x, [0])
        with tf.control_dependencies([tf.assign_sub(mean, 0.1 * (mean - found[0])), tf.assign_sub(variance, found[1])]):
            return tf.identity(found[0]), tf.identity(found[1])

    used = tf.cond(is_training, train, lambda: (tf.identity(mean), tf.identity(variance)))
    y = tf.nn.batch_normalization(x, *used, offset=None, scale=None, variance_epsilon=0.0)
    tf.identity(tf.nn.dropout(tf.nn.dropout(y, keep_prob=keep_prob), rate=rate), name="y")


def test_a_condition_that_is_not_of_training_stays_an_input(freeze: Callable[..., str], tmp_path: Path) -> None:
    def build() -> None:
        x, celsius = tf.placeholder(tf.float32, [None], name="x"), tf.placeholder(tf.bool, [], name="celsius")
        tf.cond(celsius, lambda: tf.identity(x), lambda: (x - 32) / 1.8, name="degrees")
        tf.identity(tf.get_default_graph().get_tensor_by_name("degrees/Merge:0") * tf.Variable(1.0), name="y")

    save(tmp_path / "made", build)
    said = freeze("--model", "made", "--output", "y")
    assert "training" not in said
    assert re.findall(r"(?m)^input  (\S+)", said) == ["x", "celsius"]
    assert [calculate("frozen.pb", {"x": [50.0], "celsius": c}, "y")[0].tolist() for c in (True, False)] == [[50], [10]]


def test_a_table_of_a_checkpoint(freeze: Callable[..., str], tmp_path: Path) -> None:
    def build() -> None:
        filled = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([10, 20], tf.int64))
        table = tf.lookup.StaticHashTable(filled, -1)
        tf.add(table.lookup(tf.placeholder(tf.string, [None], name="word")), tf.Variable(1, dtype=tf.int64), name="y")

    save(tmp_path / "made", build)
    assert "equal to the source" in freeze("--model", "made", "--output", "y")
    assert calculate("frozen.pb", {"word": [b"b", b"?"]}, "y")[0].tolist() == [21, 0]
    flags = ("--model", "made", "--input", "word", "--output", "y", "--x", "b,?")
    assert run_program("model_consumer.py", *flags, folder=tmp_path).out == "The calculation results : [21 0]\n"


def test_an_array_becomes_a_constant(freeze: Callable[..., str], tmp_path: Path) -> None:
    save(tmp_path / "made", normalized)
    np.save(tmp_path / "one.npy", np.float32(1))
    assert "equal to the source" in freeze("--model", "made", "--output", "y", "--feed", "keep_prob=one.npy")


def test_what_a_model_does_in_training_alone_is_left_out(freeze: Callable[..., str], tmp_path: Path) -> None:
    save(tmp_path / "made", normalized)
    expected = (POINTS - [0.5, 1.0]) / [2.0, 1.0]
    said = freeze("--model", "made", "--output", "y")
    assert "training is off: is_training = false (--feed is_training=true turns it on)\n" in said
    assert re.findall(r"(?m)^input  (\S+)", said) == ["x", "keep_prob"]
    assert not operations("frozen.pb") & {"Switch", "Merge", "AssignSub", "PlaceholderWithDefault", "VariableV2"}
    np.testing.assert_allclose(calculate("frozen.pb", {"x": POINTS, "keep_prob": 1.0}, "y")[0], expected)
    said = freeze("--model", "made", "--output", "y", "--feed", "keep_prob=1")
    assert re.findall(r"(?m)^input  (\S+)", said) == ["x"]
    np.testing.assert_allclose(calculate("frozen.pb", {"x": POINTS}, "y")[0], expected)
    said = freeze("--model", "made", "--output", "y", "--input", "x")
    assert said == (
        "model_freeze.py: no value for the placeholder: keep_prob "
        "(--input keep_prob keeps it, --feed keep_prob=... makes it a constant)"
    )
    said = freeze("--model", "made", "--output", "y", "--input", "x", "--input", "keep_prob", "--input", "rate")
    assert re.findall(r"(?m)^input  (\S+)", said) == ["x", "keep_prob", "rate"]
    np.testing.assert_allclose(calculate("frozen.pb", {"x": POINTS, "keep_prob": 1.0, "rate": 0.0}, "y")[0], expected)


def test_outputs_of_a_training_checkpoint(freeze: Callable[..., str], tmp_path: Path) -> None:
    """Without `--output` there must be exactly one end; the error lists the ends, without those of training."""
    save(tmp_path / "made")
    said = freeze("--model", "made")
    assert re.fullmatch(r"model_freeze.py: not one output: \S+ ends in (\S+, )*\S+ \(give --output\)", said)
    assert "Adam" not in said and "save/" not in said
    save(
        tmp_path / "collected",
        lambda: (network(), tf.add_to_collection("y_calc", tf.get_default_graph().get_tensor_by_name("y:0"))),
    )
    assert "output y float32 [?, 1]\n" in freeze("--model", "collected")
    said = freeze("--model", "made", "--output", "layer/w")
    assert calculate("frozen.pb", {}, "layer/w")[0].tolist() == [[1.5], [1.5]], said
    assert freeze("--model", "made", "--output", "layer/v").startswith(
        "model_freeze.py: no such output: layer/v (nearest: "
    )


# ----- GraphDefs


def frozen_graph(build: Callable[[], Any]) -> Any:
    with tf.Graph().as_default() as graph:
        build()
    return graph.as_graph_def()


def x_of(shape: list[int | None], dtype: str = "float32") -> Any:
    return tf.placeholder(dtype, shape, name="x")


@pytest.mark.parametrize("name", ["model.pb", "model.pbtxt", "model.pb.txt", "text.pb"])
def test_forms_of_a_graph(freeze: Callable[..., str], tmp_path: Path, name: str) -> None:
    graph_def = frozen_graph(lambda: tf.multiply(x_of([None, 2]), 2.0, name="y"))
    graph_def.node.add(name="left_out", op="NoOp", input=["^y"])
    for node in graph_def.node:
        node.device, node.attr["_odd"].i = "/device:GPU:7", 5
    data = graph_def.SerializeToString() if name == "model.pb" else str(graph_def).encode()
    (tmp_path / name).write_bytes(data)
    said = freeze("--model", name).splitlines()
    assert said[0].startswith(f"{name}: {len(data)} bytes; frozen.pb: ")
    assert said[3:] == ["input  x float32 [?, 2]", "output y float32 [?, 2]", "pure calculation; its digest is in SUMS"]
    assert calculate("frozen.pb", {"x": POINTS}, "y")[0].tolist() == (POINTS * 2).tolist()


NAMED: dict[str, tuple[Callable[[], Any], list[str], dict[str, Any]]] = {
    "a further output": (lambda: tf.split(x_of([None, 2]), 2, axis=1, name="y"), ["y:1"], {"y_1": POINTS[:, 1:]}),
    "all outputs": (
        lambda: tf.split(x_of([None, 2]), 2, axis=1, name="y"), ["y:1", "y"],
        {"y_1": POINTS[:, 1:], "y": POINTS[:, :1]},
    ),
    "an input": (lambda: tf.multiply(x_of([None, 2]), 2.0, name="y"), ["y", "x"], {"y": POINTS * 2, "x": POINTS}),
    "a constant": (lambda: tf.multiply(x_of([None, 2]), 2.0, name="y"), ["y/y", "y"], {"y/y": 2.0, "y": POINTS * 2}),
    "what another needs": (
        lambda: tf.negative(tf.multiply(x_of([None, 2]), 2.0, name="a"), name="b"), ["b", "a"],
        {"b": -POINTS * 2, "a": POINTS * 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_names_of_outputs(freeze: Callable[..., str], tmp_path: Path, kind: str) -> None:
    build, outputs, expected = NAMED[kind]
    (tmp_path / "model.pb").write_bytes(frozen_graph(build).SerializeToString())
    said = freeze("--model", "model.pb", *(flag for name in outputs for flag in ("--output", name)))
    assert "equal to the source" in said, said
    for name, value in expected.items():
        np.testing.assert_array_equal(calculate("frozen.pb", {"x": POINTS}, name)[0], np.float32(value))


def test_any_tensor_can_be_an_input(freeze: Callable[..., str], tmp_path: Path) -> None:
    graph_def = frozen_graph(lambda: tf.negative(tf.split(x_of([None, 2]), 2, axis=1, name="a")[1], name="b"))
    (tmp_path / "model.pb").write_bytes(graph_def.SerializeToString())
    said = freeze("--model", "model.pb", "--input", "a:1")
    assert re.findall(r"(?m)^(?:input  |output )(.+)", said) == ["a_1 float32 [?, 1]", "b float32 [?, 1]"]
    assert operations("frozen.pb") == {"Placeholder", "Neg"}
    assert freeze("--model", "model.pb", "--input", "c").startswith("model_freeze.py: no such input: c (nearest: ")
    assert (
        freeze("--model", "model.pb", "--feed", "c=1")
        == "model_freeze.py: no such input: c in --feed (the model has: x)"
    )


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "string", "float64", "bfloat16"])
def test_types_of_inputs(freeze: Callable[..., str], tmp_path: Path, dtype: str) -> None:
    (tmp_path / "model.pb").write_bytes(
        frozen_graph(lambda: tf.reverse(x_of([None], dtype), [0], name="y")).SerializeToString()
    )
    said = freeze("--model", "model.pb")
    assert "equal to the source" in said and f"input  x {dtype} [?]\n" in said


def test_a_graph_with_variables_has_no_values(freeze: Callable[..., str], tmp_path: Path) -> None:
    for resource in (False, True):
        graph_def = frozen_graph(lambda resource=resource: network(resource=resource))
        (tmp_path / "graph.pbtxt").write_text(str(graph_def))
        said = freeze("--model", "graph.pbtxt", "--output", "y")
        assert said == (
            "model_freeze.py: not frozen: graph.pbtxt has variables, and no values for them: layer/w, layer/b "
            "(give the checkpoint's folder, prefix or .meta)"
        )
    save(tmp_path / "made")
    meta = next((tmp_path / "made").glob("*.meta"))
    meta_graph = tf.MetaGraphDef.FromString(meta.read_bytes())
    restore = next(node for node in meta_graph.graph_def.node if node.name == "save/restore_all")
    del restore.input[:]
    meta.write_bytes(meta_graph.SerializeToString())
    said = freeze("--model", "made", "--output", "y")
    assert re.fullmatch(r"model_freeze.py: not frozen: a variable has no value: .+ uninitialized value layer/.", said)


def test_random_numbers_are_not_compared(freeze: Callable[..., str], tmp_path: Path) -> None:
    graph_def = frozen_graph(lambda: tf.add(x_of([2]), tf.random_uniform([2]), name="y"))
    (tmp_path / "model.pb").write_bytes(graph_def.SerializeToString())
    assert "not compared with the source: y depends on random numbers" in freeze("--model", "model.pb")


def test_values_that_the_model_does_not_take(freeze: Callable[..., str], tmp_path: Path) -> None:
    """The proof feeds made-up values; a model that rejects them is frozen all the same."""
    graph_def = frozen_graph(lambda: tf.string_to_number(x_of([None], "string"), name="y"))
    (tmp_path / "model.pb").write_bytes(graph_def.SerializeToString())
    said = freeze("--model", "model.pb")
    assert "not compared with the source, which does not take made-up values: " in said
    assert calculate("frozen.pb", {"x": [b"1.5"]}, "y")[0].tolist() == [1.5]


def counting(x: Any) -> Any:
    """x, counted up to 10 in a TensorFlow 1.x loop."""
    tf.disable_control_flow_v2()
    return tf.while_loop(lambda y: tf.reduce_all(y < 10), lambda y: y + tf.get_variable("step", initializer=1.0), [x])


def test_loops(freeze: Callable[..., str], tmp_path: Path) -> None:
    save(tmp_path / "made", lambda: tf.identity(counting(x_of([None, 2])), name="y"))
    said = freeze("--model", "made", "--output", "y")
    assert re.match(r"model_freeze.py: operations not allowed: Enter (in|2 times, first in) node while/Enter", said)
    assert not Path("frozen.pb").exists()
    loop = [flag for op in ("Enter", "LoopCond", "Exit", "NextIteration") for flag in ("--allow-op", op)]
    said = freeze("--model", "made", "--output", "y", *loop)
    assert said.endswith("accepted with Enter, LoopCond, Exit, NextIteration; its digest is in SUMS\n"), said
    assert calculate("frozen.pb", {"x": [[7.5, 7.0]]}, "y")[0].tolist() == [[10.5, 10.0]]


# ----- SavedModels of TensorFlow 1


def saved(folder: Path, build: Callable[[], tuple[dict, dict]], **settings: Any) -> Path:
    """A SavedModel with one signature, under the tags `serve` and `other`."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, outputs = build()
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder))
        signatures = {
            name: tf.saved_model.predict_signature_def(inputs, {key: value} if key else outputs)
            for name, key, value in [("serving_default", "", None), *((f"only_{k}", k, v) for k, v in outputs.items())]
        }
        builder.add_meta_graph_and_variables(
            session, ["serve", "other"], signatures, main_op=tf.tables_initializer(), **settings
        )
        builder.save()
    return folder


def two_outputs() -> tuple[dict, dict]:
    x = tf.placeholder("float64", [None], name="in")
    v = tf.get_variable("v", initializer=tf.constant(2.0, tf.float64))
    return {"x": x}, {"p": x * v, "q": x + v}


def test_tags_and_signatures(freeze: Callable[..., str], tmp_path: Path) -> None:
    saved(tmp_path / "model", two_outputs)
    said = freeze("--model", "model", "--tag", "serve,other")
    assert re.findall(r"(?m)^(?:input  |output )(\S+)", said) == ["x", "p", "q"]
    assert [y.tolist() for y in calculate("frozen.pb", {"x": [3.0]}, "p", "q")] == [[6.0], [5.0]]
    freeze("--model", "model", "--tag", "other,serve", "--signature", "only_q")
    assert calculate("frozen.pb", {"x": [3.0]}, "q")[0].tolist() == [5.0]
    freeze("--model", "model", "--tag", "other,serve", "--output", "p")
    assert calculate("frozen.pb", {"x": [3.0]}, "p")[0].tolist() == [6.0]
    before = Path("frozen.pb").read_bytes()
    assert freeze("--model", "model") == "model_freeze.py: no such tag: serve (the model has: serve,other)"
    said = freeze("--model", "model", "--tag", "serve,other", "--signature", "none")
    assert said == "model_freeze.py: no such signature: none (the model has: only_p, only_q, serving_default)"
    assert Path("frozen.pb").read_bytes() == before


def keyed(inputs: str, outputs: Sequence[str]) -> Callable[[], tuple[dict, dict]]:
    def build() -> tuple[dict, dict]:
        x = tf.placeholder("float64", [None], name="in")
        y = tf.multiply(x, 2.0, name="p")
        tf.identity(y, name="q")
        return {inputs: x}, {key: y if i < 2 else tf.negative(y, name="minus") for i, key in enumerate(outputs)}

    return build


@pytest.mark.parametrize(
    ("key", "keys", "names"),
    [
        ("x", ["y", "again"], ["x", "again", "y"]),  # two keys for one tensor
        ("p", ["q", "r", "in"], ["p", "q", "r", "in"]),  # names of other nodes
        ("x", ["x"], ["x", "x_1"]),  # one key for input and output
        ("the x", ["y/ä:0", "ok"], ["the_x", "ok", "y/__0"]),  # not valid as names of nodes
        ("_x", ["-y"], ["x", "y"]),
    ],
)
def test_keys_of_signatures(
    freeze: Callable[..., str], tmp_path: Path, key: str, keys: list[str], names: list[str]
) -> None:
    saved(tmp_path / "model", keyed(key, keys))
    said = freeze("--model", "model", "--tag", "serve,other")
    assert "equal to the source" in said, said
    found = re.findall(r"(?m)^(?:input  |output )(\S+)", said)
    assert sorted(found) == sorted(names)
    values = calculate("frozen.pb", {names[0]: [3.0]}, *names[1:])
    assert [y.tolist() for y in values] == [[-6.0] if name == "in" else [6.0] for name in names[1:]]


def test_a_saved_model_without_variables(freeze: Callable[..., str], tmp_path: Path) -> None:
    saved(tmp_path / "model", keyed("x", ["y"]))
    assert not (tmp_path / "model" / "variables" / "variables.index").exists()
    assert "output y float64 [?]\n" in freeze("--model", "model", "--tag", "serve,other")


def shared_table(by_reference: bool) -> Callable[[], tuple[dict, dict]]:
    """A table that two lookups share; in TensorFlow 1.x the handle is a reference."""

    def build() -> tuple[dict, dict]:
        x = x_of([None], "string")
        keys, values = tf.constant(["a", "b", ""]), tf.constant([10, 20, 30], tf.int64)
        raw, types = tf.raw_ops, {"key_dtype": tf.string, "value_dtype": tf.int64}
        if by_reference:
            table = raw.HashTable(**types)
            init = raw.InitializeTable(table_handle=table, keys=keys, values=values)
            find, size = raw.LookupTableFind, raw.LookupTableSize(table_handle=table)
        else:
            table = raw.HashTableV2(**types)
            init = raw.InitializeTableV2(table_handle=table, keys=keys, values=values)
            find, size = raw.LookupTableFindV2, raw.LookupTableSizeV2(table_handle=table)
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, init)
        found = [find(table_handle=table, keys=x, default_value=tf.constant(-i, tf.int64)) for i in (1, 2)]
        return {"x": x}, {"first": found[0], "second": found[1], "size": tf.identity(size)}

    return build


@pytest.mark.parametrize("by_reference", [False, True])
def test_tables(freeze: Callable[..., str], tmp_path: Path, by_reference: bool) -> None:
    saved(tmp_path / "model", shared_table(by_reference))
    said = freeze("--model", "model", "--tag", "serve,other")
    assert "equal to the source" in said, said
    found = calculate("frozen.pb", {"x": [b"b", b"none", b"", b"a"]}, "first", "second", "size")
    assert [y.tolist() for y in found] == [[20, -1, 30, 10], [20, -2, 30, 10], 3]


# ----- TensorFlow 2 and Keras


def test_functions(freeze: Callable[..., str], tensorflow_2: Path) -> None:
    said = freeze("--model", tensorflow_2 / "functions")
    assert re.findall(r"(?m)^(?:input  |output )(\S+)", said) == ["x", "line", "part"]
    line, part = calculate("frozen.pb", {"x": POINTS}, "line", "part")
    assert line.tolist() == (1.5 * POINTS - 3).tolist() and part.tolist() == (2 * POINTS).tolist()
    assert (
        calculate("frozen.pb", {"x": POINTS * 1e9}, "part")[0].tolist()
        == (np.float32(1.5) * (POINTS * np.float32(1e9))).tolist()
    )
    assert not operations("frozen.pb") & {"PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf"}


@pytest.mark.parametrize("name", ["table", "asset"])
def test_tables_of_tensorflow_2(freeze: Callable[..., str], tensorflow_2: Path, name: str) -> None:
    said = freeze("--model", tensorflow_2 / name)
    assert "equal to the source" in said, said
    number, again = calculate("frozen.pb", {"word": [b"c", b"?", b"a"]}, "number", "again")
    assert number.tolist() == ([30, -1, 10] if name == "table" else [2, -1, 0])
    assert again.tolist() == (2 * number).tolist()


def test_keras_inputs_in_a_dict_that_is_not_sorted(freeze: Callable[..., str], tmp_path: Path) -> None:
    program = (
        "import keras; b, a = keras.Input((2,), name='b'), keras.Input((2,), name='a'); "
        "keras.Model({'b': b, 'a': a}, {'y': keras.ops.subtract(b, a)}).save('dict.keras')"
    )
    assert run_command(f'python -c "{program}"', tmp_path).status == 0
    assert "equal to the source" in freeze("--model", "dict.keras")
    (y,) = calculate("frozen.pb", {"b": [[3.0, 5.0]], "a": [[1.0, 1.0]]}, "y")
    assert y.tolist() == [[2, 4]]


@pytest.mark.parametrize("name", ["image", "image.keras", "image.h5"])
def test_keras_models(freeze: Callable[..., str], tensorflow_2: Path, name: str) -> None:
    said = freeze("--model", tensorflow_2 / name)
    assert re.findall(r"(?m)^(?:input  |output )(.+)", said) == [
        "image float32 [?, 8, 8, 1]",
        "output_0 float32 [?, 3]",
    ]
    expected = np.load(tensorflow_2 / "expected.npz")
    (y,) = calculate("frozen.pb", {"image": expected["images"]}, "output_0")
    np.testing.assert_allclose(y, expected["image"], 1e-5)


@pytest.mark.parametrize("name", ["both", "both.keras"])
def test_keras_models_of_several_inputs_and_outputs(freeze: Callable[..., str], tensorflow_2: Path, name: str) -> None:
    said = freeze("--model", tensorflow_2 / name)
    assert re.findall(r"(?m)^(?:input  |output )(\S+)", said) == ["first", "second", "dense", "sum"]
    expected = np.load(tensorflow_2 / "expected.npz")
    dense, total = calculate("frozen.pb", {"first": POINTS, "second": np.ones_like(POINTS)}, "dense", "sum")
    np.testing.assert_allclose(dense, expected["dense"], 1e-5)
    np.testing.assert_allclose(total, expected["sum"])


@pytest.mark.parametrize("name", ["embedding", "embedding.keras"])
def test_keras_models_of_whole_numbers(freeze: Callable[..., str], tensorflow_2: Path, name: str) -> None:
    assert "input  numbers int32 [?, 4]\n" in freeze("--model", tensorflow_2 / name)
    (y,) = calculate("frozen.pb", {"numbers": np.array([[1, 2, 3, 9]], np.int32)}, "output_0")
    np.testing.assert_allclose(y, np.load(tensorflow_2 / "expected.npz")["embedded"], 1e-6)


def test_outputs_of_keras_keep_their_order(freeze: Callable[..., str], tensorflow_2: Path) -> None:
    assert "equal to the source" in freeze("--model", tensorflow_2 / "eleven.keras")
    for i, y in enumerate(calculate("frozen.pb", {"first": POINTS}, *(f"output_{i}" for i in range(11)))):
        assert y.tolist() == (POINTS + i).tolist()


def test_recurrent_layers(freeze: Callable[..., str], tensorflow_2: Path) -> None:
    """A loop stays a loop: for a series of five steps, it calls its function five times."""
    said = freeze("--model", tensorflow_2 / "recurrent")
    assert "operations not allowed: " in said and "While in node " in said
    allowed = [flag for op in re.findall(r"--allow-op (\w+)", said) for flag in ("--allow-op", op)]
    said = freeze("--model", tensorflow_2 / "recurrent", *allowed)
    assert re.findall(r"(?m)^(?:input  |output )(\S+)", said) == ["series", "output_0"], said
    expected = np.load(tensorflow_2 / "expected.npz")
    np.testing.assert_allclose(
        calculate("frozen.pb", {"series": expected["series"]}, "output_0")[0], expected["recurrent"], 1e-5
    )


@pytest.mark.parametrize("name", ["functions", "table", "asset", "image", "both", "embedding"])
def test_the_gate_accepts_saved_models_of_tensorflow_2(tensorflow_2: Path, name: str) -> None:
    lines = graph_check.judge(str(tensorflow_2 / name)).lines
    assert lines[1] == "signature serving_default (tag serve)" or name in ("image", "both", "embedding")
    assert graph_check.describe(str(tensorflow_2 / name)) == lines


# ----- refusals


def test_what_is_refused_leaves_everything_as_it_was(freeze: Callable[..., str], tmp_path: Path) -> None:
    Path("frozen.pb").write_text("old")
    Path("SUMS").write_text("")
    graph_def = frozen_graph(lambda: tf.multiply(x_of([None, 2]), 2.0, name="y"))
    hostile = tf.GraphDef.FromString(graph_def.SerializeToString())
    constant = hostile.node.add(name="c", op="Const")
    constant.attr["dtype"].type = tf.string.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("written"))
    hostile.node.add(name="bad", op="ReadFile", input=["c"])
    (tmp_path / "beside.pb").write_bytes(hostile.SerializeToString())
    number = hostile.node.add(name="z", op="StringLength", input=["bad"])
    number.attr["unit"].s = b"BYTE"
    (tmp_path / "hostile.pb").write_bytes(hostile.SerializeToString())
    (tmp_path / "broken.keras").write_bytes(b"PK")
    (tmp_path / "empty.pb").touch()
    huge = frozen_graph(lambda: tf.fill([10**6, 10**6], tf.reduce_sum(x_of([2])), name="y"))
    (tmp_path / "huge.pb").write_bytes(huge.SerializeToString())
    for source, output, words in (
        ("hostile.pb", "z", r"operations not allowed: ReadFile in node bad \(--allow-op ReadFile accepts them\)"),
        ("huge.pb", "y", r"refused graph: the output of node y has 1000000000000 elements \(at most 16777216\)"),
        ("broken.keras", "y", r"cannot load: broken.keras: .+ \(model.export\('FOLDER'\) in Python makes .+\)"),
        ("empty.pb", "y", r"not a usable model file: empty.pb is empty"),
        ("none.pb", "y", r"no model: none.pb \(.+\)"),
        (".", "y", r"no complete checkpoint: .+"),
    ):
        said = freeze("--model", source, "--output", output)
        assert re.fullmatch(rf"model_freeze.py: {words}", said), said
        assert Path("frozen.pb").read_text() == "old" and Path("SUMS").read_text() == ""
    assert "equal to the source" in freeze("--model", "beside.pb", "--output", "y"), "what the output does not need"
    assert sorted(os.listdir()) == sorted(
        ["SUMS", "beside.pb", "broken.keras", "empty.pb", "frozen.pb", "hostile.pb", "huge.pb"]
    ), "nothing is left over"


def test_the_program(tmp_path: Path) -> None:
    (tmp_path / "model.pbtxt").write_text(str(frozen_graph(lambda: tf.multiply(x_of([None, 2]), 2.0, name="y"))))
    done = run_program("model_freeze.py", "--model", "model.pbtxt", folder=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "pure calculation; its digest is in frozen_graphs/SHA256SUMS"
    assert calculate(tmp_path / "frozen_graphs" / "model.pb", {"x": POINTS}, "y")[0].tolist() == (POINTS * 2).tolist()
    done = run_program("model_freeze.py", "--model", "none.pb", folder=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert re.fullmatch(r"model_freeze.py: no model: none.pb \(.+\)\n", done.err)


if __name__ == "__main__":
    make_tensorflow_2(Path(sys.argv[1]))
