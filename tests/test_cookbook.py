"""The recipes, run in the order of the cookbook's page: what they print, what they leave behind, what they refuse."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import page
from conftest import ROOT, Result, run_command, run_program
from model_import_export import graph_check
from model_import_export.graph_mode import tf

sys.path.append(str(ROOT / "cookbook"))
import checkpoint  # noqa: E402
import classifier  # noqa: E402
import savedmodel  # noqa: E402

README = (ROOT / "cookbook" / "README.md").read_text()
SCRIPTS = sorted(p.name for p in (ROOT / "cookbook").glob("*.py") if '__name__ == "__main__"' in p.read_text())
PLACEHOLDER = "Placeholder/inputs_placeholder"
LINE = [-2.9987834928787795, -1.4987794569534572, -4.498787528804102, 0.0012245789718652311]  # of the contract


def set_out(trained: Path, folder: Path) -> Path:
    """A copy of the repository in which the producer and the freeze script have run."""
    page.check_out(folder)
    for name in ("saved_model", "frozen_graphs"):
        shutil.copytree(trained / name, folder / name)
    for name in ("go_consumer/go_consumer", "java_consumer/target"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def walked(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[page.Step, str]]]:
    """The folder in which the page's commands ran, and what they printed."""
    folder = set_out(trained, tmp_path_factory.mktemp("cookbook"))
    # saved_model_cli takes seconds each time; it is among what a user types.
    quick = [step for step in page.steps(README) if not step.command.startswith("saved_model_cli")]
    return folder, page.walk(quick, folder, page.run_forked)


@pytest.fixture(scope="module")
def kitchen(walked: tuple[Path, list[tuple[page.Step, str]]]) -> Path:
    """The folder in which all recipes ran. Tests leave it as it is."""
    return walked[0]


@pytest.fixture
def copy(kitchen: Path, tmp_path: Path) -> Path:
    """A copy of what the recipes left, to spoil."""
    for name in ("results", "exports", "exp_model", "saved_model", "frozen_graphs"):
        shutil.copytree(kitchen / name, tmp_path / name)
    return tmp_path


def recipe(name: str, *flags: object, folder: Path) -> Result:
    """Runs a recipe; the one that does without TensorFlow in a process that does."""
    if name == "freezemodel_c_library":
        return run_command(shlex.join(["python", f"{ROOT}/cookbook/{name}.py", *map(str, flags)]), folder)
    return run_program(f"cookbook/{name}.py", *flags, folder=folder)


def test_every_command_prints_what_the_page_says(walked: tuple[Path, list[tuple[page.Step, str]]]) -> None:
    page.check(walked[1])
    commands = " ".join(step.command for step, _ in walked[1])
    assert [name for name in SCRIPTS if name not in commands] == ["freezemodel_serve.py"] * (
        "freezemodel_serve.py" in SCRIPTS
    )


@pytest.mark.slow
def test_the_page_as_a_user_types_it(trained: Path, tmp_path: Path) -> None:
    page.check(page.walk(page.steps(README), set_out(trained, tmp_path)))


@pytest.mark.slow
def test_make_cookbook_runs_all_on_a_clean_checkout(tmp_path: Path) -> None:
    result = run_command("make cookbook", page.check_out(tmp_path))
    assert result.status == 0, result
    for name in SCRIPTS:
        assert name == "freezemodel_serve.py" or f"== python cookbook/{name}" in result.out


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_length(name: str) -> None:
    shown = run_program(f"cookbook/{name}", "--help")
    assert (shown.status, shown.err) == (0, "")
    assert f"python cookbook/{name}" in shown.out
    assert 25 <= (ROOT / "cookbook" / name).read_text().count("\n") <= 120


@pytest.mark.parametrize(
    ("name", "missing", "maker"),
    [
        ("checkpoint_restore", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("checkpoint_from_scratch", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("checkpoint_multiple_models", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("inspect_model", "results/graph.ckpt.meta", "python cookbook/checkpoint_save.py"),
        ("inspect_checkpoint", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("freezemodel_save", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("freezemodel_load", "results/frozen_model.pb", "python cookbook/freezemodel_save.py"),
        (
            "freezemodel_multiple",
            "frozen_graphs/frozen_linear_regression.pb",
            "./freeze_graph_linear_regression.sh",
        ),
        (
            "freezemodel_c_library",
            "frozen_graphs/frozen_linear_regression.pb",
            "./freeze_graph_linear_regression.sh",
        ),
        ("savedmodel_from_checkpoint", "results/graph.ckpt", "python cookbook/checkpoint_save.py"),
        ("savedmodel_from_frozen", "results/frozen_model.pb", "python cookbook/freezemodel_save.py"),
        ("savedmodel_pretrained", "results/tfckptmodel", "python cookbook/savedmodel_from_checkpoint.py"),
    ],
)
def test_missing_input_names_the_recipe_that_makes_it(name: str, missing: str, maker: str, tmp_path: Path) -> None:
    said = f"{name}.py: no such file: {missing} (run {maker} first)\n"
    assert recipe(name, folder=tmp_path) == (1, "", said)


# Checkpoints


def test_checkpoint_save(kitchen: Path) -> None:
    """The classifier knows sums it has not seen; the JSON is the .meta; the slots and the step are saved."""
    values = checkpoint.values(str(kitchen / "results/graph.ckpt"))
    x, labels = classifier.draw_batch(5_000_000)
    hidden = np.maximum((x - np.float32(4.75)) @ values["hidden/kernel"] + values["hidden/bias"], 0)
    predictions = hidden @ values["output/kernel"] + values["output/bias"] >= 0
    assert np.mean(predictions == labels) > 0.95
    assert values["global_step"] == 1000
    assert sum(name.endswith("/Adagrad") for name in values) == 4
    meta_graph = tf.MetaGraphDef.FromString((kitchen / "results/graph.ckpt.meta").read_bytes())
    nodes = json.loads((kitchen / "results/graph.ckpt.meta.json").read_text())["graphDef"]["node"]
    assert [node["name"] for node in nodes] == [node.name for node in meta_graph.graph_def.node]
    assert sorted(path.name for path in kitchen.glob("results/sharded.ckpt.data*")) == [
        "sharded.ckpt.data-00000-of-00002",
        "sharded.ckpt.data-00001-of-00002",
    ]
    assert not (kitchen / "results/values.ckpt.meta").exists()


def test_checkpoint_restore_goes_on_to_the_same_bits(kitchen: Path, copy: Path) -> None:
    """The recipe compares with its own graph; here with the one that checkpoint_save.py builds, trained in one go."""
    assert recipe("checkpoint_save", "--steps", 1200, "--checkpoint", "results/whole.ckpt", folder=copy).status == 0
    result = recipe("checkpoint_restore", "--until", 1200, folder=copy)
    assert result.out.endswith("equal those of an unbroken training to the bit\n")
    whole = checkpoint.values(str(copy / "results/whole.ckpt"))
    meta_graph = checkpoint.read_meta_graph(str(kitchen / "results/graph.ckpt.meta"))
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(inter_op_parallelism_threads=-1)) as session:
        tf.train.import_meta_graph(meta_graph).restore(session, str(kitchen / "results/graph.ckpt"))
        inputs, labels = tf.get_collection("inputs")
        classifier.train(session, tf.get_collection("train_op")[0], inputs, labels, range(1000, 1200))
        for name, value in whole.items():
            assert session.run(f"{name}:0").tobytes() == value.tobytes(), name


def test_checkpoint_restore_notices_another_training(copy: Path) -> None:
    """Slots that were lost make another training: the comparison sees it."""
    values = checkpoint.values(str(copy / "results/graph.ckpt"))
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=value * 2 if name.endswith("Adagrad") else value)
        session.run(tf.global_variables_initializer())
        meta = (copy / "results/graph.ckpt.meta").read_bytes()
        tf.train.Saver().save(session, str(copy / "results/graph.ckpt"))
        (copy / "results/graph.ckpt.meta").write_bytes(meta)
    result = recipe("checkpoint_restore", folder=copy)
    assert result.status == 1
    assert result.err.startswith("checkpoint_restore.py: not the numbers of an unbroken training: hidden/kernel")


def test_checkpoint_subset(kitchen: Path) -> None:
    assert checkpoint.values(str(kitchen / "results/subset/model.ckpt")).keys() == {"v1"}
    renamed = checkpoint.values(str(kitchen / "results/subset/renamed.ckpt"))
    assert {name: value.tolist() for name, value in renamed.items()} == {"counted/down": [-1.0] * 5}


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_variable_of_another_shape_dtype_or_name_is_refused(kitchen: Path, use_resource: bool) -> None:
    """Also the silent one: what TensorFlow itself does with a resource variable is shown first."""
    prefix = str(kitchen / "results/graph.ckpt")
    with tf.Graph().as_default(), tf.Session() as session:
        short = tf.get_variable("bias", [8], use_resource=use_resource)
        if use_resource:
            tf.train.Saver({"hidden/bias": short}).restore(session, prefix)
            assert session.run(short).shape == (16,), "TensorFlow has begun to refuse it: the recipe can go"
        double = tf.get_variable("double", [16], tf.float64, use_resource=use_resource)
        for name, variable, said in (
            ("hidden/bias", short, "hidden/bias is float32 [8], in .* it is float32 [16]"),
            ("hidden/bias", double, "hidden/bias is float64 [16], in .* it is float32 [16]"),
            ("hidden/biases", double, "no such variable: hidden/biases in .*it has: global_step, hidden/bias, "),
        ):
            with pytest.raises(ValueError, match=said.replace("[", r"\[")):
                checkpoint.restore(session, prefix, {name: variable})


def test_from_scratch_and_multiple_models(kitchen: Path) -> None:
    result = recipe("checkpoint_from_scratch", "--hidden", 8, folder=kitchen)
    assert (result.status, result.err.count("hidden/kernel is float32 [10, 8]")) == (1, 1)
    first, opposite = (checkpoint.values(str(kitchen / f"results/{name}.ckpt")) for name in ("graph", "opposite"))
    assert np.array_equal(first["output/kernel"], -opposite["output/kernel"])
    assert np.array_equal(first["hidden/kernel"], opposite["hidden/kernel"])


def test_inspect_model(kitchen: Path) -> None:
    text = graph_check.parse(tf.GraphDef(), (kitchen / "results/train.pbtxt").read_bytes(), "train.pbtxt")
    assert text == tf.MetaGraphDef.FromString((kitchen / "results/graph.ckpt.meta").read_bytes()).graph_def
    assert {"VariableV2", "ApplyAdagrad", "MatMul"} <= {node.op for node in text.node}
    regression = recipe("inspect_model", "--meta", "saved_model/linear_regression.ckpt-1900.meta", folder=kitchen)
    assert "operations: 118\n" in regression.out
    assert "collections:\n  inputs: 2\n" in regression.out


@pytest.mark.parametrize("flags", [["--tensor", "output/bias"], ["--all"]])
def test_inspect_checkpoint_prints_values(kitchen: Path, flags: list[str]) -> None:
    bias = checkpoint.values(str(kitchen / "results/graph.ckpt"))["output/bias"]
    result = recipe("inspect_checkpoint", *flags, folder=kitchen)
    assert f"output/bias float32 [1]\n{bias}\n" in result.out


@pytest.mark.parametrize("name", ["checkpoint_restore", "inspect_model", "freezemodel_save"])
def test_a_meta_that_is_none_or_does_harm(copy: Path, name: str) -> None:
    meta = copy / "results/graph.ckpt.meta"
    whole = meta.read_bytes()
    meta.write_bytes(whole[: len(whole) // 2])
    result = recipe(name, folder=copy)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"{name}.py: not a MetaGraphDef: results/graph.ckpt.meta: ")
    meta_graph = tf.MetaGraphDef.FromString(whole)
    meta_graph.graph_def.node.add(name="harm", op="WriteFile")
    meta.write_bytes(meta_graph.SerializeToString())
    result = recipe(name, folder=copy)
    assert (result.status, result.out) == (1, "")
    assert "operation not allowed: WriteFile in node harm" in result.err


# Frozen graphs


def test_frozen_classifier(kitchen: Path) -> None:
    frozen = tf.GraphDef.FromString((kitchen / "results/frozen_model.pb").read_bytes())
    operations = {node.op for node in frozen.node}
    assert operations <= graph_check.OPERATIONS
    assert [node.name for node in frozen.node if node.op == "Placeholder"] == [PLACEHOLDER]
    values = checkpoint.values(str(kitchen / "results/graph.ckpt"))
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in frozen.node if node.op == "Const"}
    for name in ("hidden/kernel", "hidden/bias", "output/kernel", "output/bias"):
        assert np.array_equal(constants[name], values[name])
    assert run_command("sha256sum -c SHA256SUMS", kitchen / "results").status == 0


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        (
            "freezemodel_save",
            ["--output", "Accuracy/prediction"],
            "no such node: Accuracy/prediction in results/graph.ckpt.meta (the nearest: Accuracy/predictions",
        ),
        ("freezemodel_load", ["--input", "x"], f"no such input: x (the model has: {PLACEHOLDER})"),
        ("freezemodel_load", ["--output", "y"], "no such output: y (the nearest: "),
        ("freezemodel_load", ["--x", "1,2"], f"wrong number of values: 2 given, the placeholder {PLACEHOLDER} takes a"),
        ("freezemodel_load", ["--x", "1,a"], "not a number: a in --x"),
        ("freezemodel_multiple", ["--x", "1"], f"wrong number of values: 1 given, the placeholder {PLACEHOLDER}"),
        ("freezemodel_multiple", ["--sums", "frozen_graphs/frozen_linear_regression.pb"], "no such input: "),
        ("freezemodel_from_keras", ["--model", "results/frozen_model.pb"], "cannot load: results/frozen_model.pb: "),
        ("freezemodel_from_keras", ["--custom", "json:Nothing"], "no such class: json:Nothing ("),
        ("freezemodel_c_library", ["--output", "y"], "no such operation: y"),
        ("freezemodel_c_library", ["--frozen", "results/train.pbtxt"], "not vouched for: results/train.pbtxt ("),
        ("savedmodel_from_frozen", ["--output", "y"], "no such output: y (the nearest: "),
        ("savedmodel_from_frozen", ["--export", "saved_model"], "not a SavedModel: saved_model (it would be replaced"),
        ("savedmodel_from_checkpoint", ["--input", "x=x"], "no such node: x in results/graph.ckpt.meta (the nearest: "),
        ("savedmodel_from_checkpoint", ["--input", "x"], "argument --input: not NAME=LIST: x"),
        ("savedmodel_pretrained", ["--tag", "gpu"], "no such tag: gpu (the model has: serve)"),
        ("savedmodel_pretrained", ["--signature", "s"], "no such signature: s (the model has: serving_default)"),
        ("savedmodel_pretrained", ["--feed", "x=1"], "no such input: x (the model has: inputs_1)"),
        (
            "savedmodel_pretrained",
            ["--feed", "inputs_1=1"],
            "wrong number of values: 1 given, the placeholder inputs_1",
        ),
        (
            "savedmodel_pretrained",
            ["--feed", "inputs_1=float64.npy"],
            "not of the dtype float32: float64.npy is float64",
        ),
        ("savedmodel_pretrained", ["--feed", "inputs_1=flat.npy"], "not of the shape [-1, 10]: flat.npy has [10] ("),
        ("savedmodel_pretrained", ["--model", "results"], "not a SavedModel: results (it holds no saved_model.pb"),
    ],
)
def test_bad_input_is_one_line(kitchen: Path, name: str, flags: list[str], said: str) -> None:
    np.save(kitchen / "float64.npy", np.ones([1, 10]))
    np.save(kitchen / "flat.npy", np.ones(10, np.float32))
    result = recipe(name, *flags, folder=kitchen)
    assert (result.status, result.out) == (2 if "argument" in said else 1, "")
    assert result.err.startswith(f"{name}.py: {said}")
    assert result.err.count("\n") == 1


def test_flipped_bits_are_noticed(copy: Path) -> None:
    """Of a frozen graph by its digest, before anything is calculated."""
    for path, name in (
        ("results/frozen_model.pb", "freezemodel_load"),
        ("frozen_graphs/frozen_linear_regression.pb", "freezemodel_c_library"),
    ):
        data = bytearray((copy / path).read_bytes())
        data[-20] ^= 1
        (copy / path).write_bytes(data)
        said = f"{name}.py: digest mismatch: {path} is not the file that SHA256SUMS lists (freeze it again)\n"
        assert recipe(name, folder=copy) == (1, "", said)


def test_keras_in_inference_form(kitchen: Path) -> None:
    """No dropout, no batch statistics: a row's result does not depend on the other rows, and both files agree."""
    graph_def = tf.GraphDef.FromString((kitchen / "results/frozen_keras_model.pb").read_bytes())
    assert {node.op for node in graph_def.node} <= graph_check.OPERATIONS
    names = [node.name for node in graph_def.node]
    assert {"input0", "output0", "output1"} <= set(names)
    rows = np.random.default_rng(1).normal(size=[5, 10]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        one, all_rows = (session.run("output0:0", {"input0:0": x}) for x in (rows[:1], rows))
        twin = tf.GraphDef.FromString((kitchen / "results/frozen_keras_model_2.pb").read_bytes())
        (output,) = tf.import_graph_def(twin, {"input0:0": rows}, ["output0:0"], name="twin")
        np.testing.assert_allclose(session.run(output), all_rows, rtol=1e-6)
    np.testing.assert_allclose(one, all_rows[:1], rtol=1e-5)


def test_the_c_library_gives_the_same_numbers_without_tensorflow(kitchen: Path) -> None:
    result = recipe("freezemodel_c_library", "--x", "1e308,-0,nan,0.1", folder=kitchen)
    frozen = "frozen_graphs/frozen_linear_regression.pb"
    assert result == run_program("model_consumer.py", "--model", frozen, "--x", "1e308,-0,nan,0.1", folder=kitchen)
    script = "import sys; sys.argv[1:] = []; import freezemodel_c_library as r; r.main(); print(*sys.modules)"
    done = run_command(f"PYTHONPATH={ROOT}/cookbook python -c '{script}'", kitchen)
    assert (done.status, "tensorflow" in done.out.split()) == (0, False)


# SavedModels


def run_saved(path: Path, tags: list[str], signature: str, feed: dict[str, object]) -> dict[str, np.ndarray]:
    """Calculates with TensorFlow's own loader alone."""
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, tags, str(path)).signature_def[signature]
        fetches = {key: info.name for key, info in loaded.outputs.items()}
        return session.run(fetches, {loaded.inputs[key].name: value for key, value in feed.items()})


def test_savedmodels_give_the_numbers_of_their_sources(kitchen: Path) -> None:
    x = [[0.0, 1.0, -1.0, 2.0]]
    line = run_saved(kitchen / "exports/linear_regression/1", ["serve"], "serving_default", {"x": x})
    np.testing.assert_allclose(line["y"], [LINE], rtol=1e-11)
    half = run_saved(kitchen / "exports/half_plus_two/1", ["serve"], "serving_default", {"x": [1.0, 2.0, 5.0]})
    assert half["y"].tolist() == [2.5, 3.0, 4.5]
    for name, source, target in (("tfckptmodel", "inputs_1", "output1"), ("frozensavedmodel", "inputs", "outputs")):
        feed = {source: [list(range(10)), [5] * 10]}
        results = run_saved(kitchen / "results" / name, ["serve"], "serving_default", feed)
        assert results[target].tolist() == [[False], [True]]
    assert list((kitchen / "results/frozensavedmodel/variables").iterdir()) == []


def test_an_export_has_no_training_unless_asked(copy: Path) -> None:
    for flags, training in (([], False), (["--whole"], True)):
        export = ["--export", "exports/line/1", "--checkpoint", "saved_model"]
        names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
        result = recipe("savedmodel_from_checkpoint", *export, *names, *flags, folder=copy)
        assert (result.status, result.err) == (0, "")
        graph = savedmodel.model_file.read_meta_graph(str(copy / "exports/line/1"), ["serve"], trust=True)
        assert ("ApplyAdagrad" in {node.op for node in graph.graph_def.node}) == training
        results = run_saved(copy / "exports/line/1", ["serve"], "serving_default", {"x": [[0.0, 1.0, -1.0, 2.0]]})
        np.testing.assert_allclose(results["y"], [LINE], rtol=1e-11)
        assert not list((copy / "exports/line").glob(".*"))


def test_a_failed_export_leaves_the_old_one(copy: Path) -> None:
    def fail() -> None:
        with savedmodel.new_folder(copy / "exports/half_plus_two/1") as folder:
            (Path(folder)).mkdir()
            raise RuntimeError("in the middle")

    before = sorted((copy / "exports").rglob("*"))
    with pytest.raises(RuntimeError):
        fail()
    assert sorted((copy / "exports").rglob("*")) == before


def test_builder(kitchen: Path) -> None:
    """Each graph by its tags, each signature by its method, the words from the asset, in both forms."""
    examples = []
    for value in (0.0, 1.0, 2.0, 5.0):
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.append(value)
        examples.append(example.SerializeToString())
    for version, file in (("1", "saved_model.pb"), ("2", "saved_model.pbtxt")):
        path = kitchen / "exp_model" / version
        assert (path / file).exists()
        assert (path / "assets/vocabulary.txt").read_text() == "low\nhigh\n"
        for tags in (["serve"], ["serve", "gpu"]):
            results = run_saved(path, tags, "prediction", {"input": [[1.0], [5.0]]})
            assert results["output"].tolist() == [[2.5], [4.5]]
        regressed = run_saved(path, ["serve"], "regression", {"inputs": examples})
        assert regressed["outputs"].tolist() == [[2.0], [2.5], [3.0], [4.5]]
        classified = run_saved(path, ["serve"], "classification", {"inputs": examples})
        assert classified["classes"].ravel().tolist() == [b"low", b"low", b"high", b"high"]
        methods = {
            name: signature.method_name.rsplit("/", 1)[1]
            for name, signature in savedmodel.model_file.read_meta_graph(str(path), ["serve"]).signature_def.items()
            if not name.startswith("__")
        }
        assert methods == {"prediction": "predict", "regression": "regress", "classification": "classify"}
        trained = savedmodel.model_file.read_meta_graph(str(path), ["train"], trust=True)
        assert "ApplyGradientDescent" in {node.op for node in trained.graph_def.node}


def test_two_assets_of_one_name(tmp_path: Path) -> None:
    """As the page says: the second gets a name of its own."""
    with tf.Graph().as_default(), tf.Session() as session:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "vocabulary.txt").write_text(name)
            tf.add_to_collection("assets", tf.constant(str(tmp_path / name / "vocabulary.txt")))
        builder = tf.saved_model.builder.SavedModelBuilder(str(tmp_path / "saved"))
        builder.add_meta_graph_and_variables(session, ["serve"], assets_collection=tf.get_collection("assets"))
        builder.save()
    assets = {path.name: path.read_text() for path in (tmp_path / "saved" / "assets").iterdir()}
    assert assets == {"vocabulary.txt": "a", "vocabulary.txt_1": "b"}


@pytest.mark.slow
def test_saved_model_cli_calculates_them(kitchen: Path) -> None:
    command = "saved_model_cli run --dir exp_model/1 --tag_set serve --signature_def prediction"
    result = run_command(f"{command} --input_exprs 'input=[[1.],[5.]]'", kitchen)
    assert "[[2.5]\n [4.5]]" in result.out


@pytest.mark.slow
def test_other_programs_give_the_same_numbers(trained: Path, kitchen: Path) -> None:
    result = run_command("make interop", ROOT, timeout=1200)
    assert result.status == 0, result
