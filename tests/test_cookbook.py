"""The recipes, run in the order of the cookbook's page: what they print, write and refuse."""

import json
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import page
from conftest import ROOT, USER, Result, run_command, run_program
from model_import_export import model_file, operations
from model_import_export.graph_mode import tf

import numpy as np
import pytest

sys.path.append(str(ROOT / "cookbook"))
import checkpoint  # noqa: E402
import classifier  # noqa: E402
import litert  # noqa: E402
import savedmodel  # noqa: E402

README = (ROOT / "cookbook" / "README.md").read_text()
SCRIPTS = sorted(p.name for p in (ROOT / "cookbook").glob("*.py") if '__name__ == "__main__"' in p.read_text())
OTHERS = ("saved_model_cli", ".cache/", "node ")  # commands that take seconds or need a separate environment
PLACEHOLDER = "Placeholder/inputs_placeholder"
REGRESSION = "frozen_graphs/frozen_linear_regression.pb"
CNN = "frozen_graphs/cnn.pb"
LINE = [-2.9987834928787795, -1.4987794569534572, -4.498787528804102, 0.0012245789718652311]  # the contract's results


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
    quick = [step for step in page.steps(README) if not step.command.startswith(OTHERS)]
    return folder, page.walk(quick, folder, page.run_forked)


@pytest.fixture(scope="module")
def kitchen(walked: tuple[Path, list[tuple[page.Step, str]]]) -> Path:
    """The folder in which all recipes ran. Tests must not change it."""
    return walked[0]


@pytest.fixture
def copy(kitchen: Path, tmp_path: Path) -> Path:
    """A copy of what the recipes wrote, to damage."""
    for name in ("results", "exports", "exp_model", "saved_model", "frozen_graphs"):
        shutil.copytree(kitchen / name, tmp_path / name)
    return tmp_path


def recipe(name: str, *flags: object, folder: Path) -> Result:
    """Runs a recipe; the one without TensorFlow in a process that does not have it."""
    if name == "freezemodel_c_library":
        return run_command(shlex.join(["python", f"{ROOT}/cookbook/{name}.py", *map(str, flags)]), folder)
    return run_program(f"cookbook/{name}.py", *flags, folder=folder)


def test_every_command_prints_what_the_page_says(walked: tuple[Path, list[tuple[page.Step, str]]]) -> None:
    page.check(walked[1], more_than=40)


def test_the_page_has_every_recipe() -> None:
    """Except the smallest server, which is on the serving page."""
    commands = " ".join(step.command for step in page.steps(README))
    assert {name for name in SCRIPTS if f"cookbook/{name}" not in commands} == {"freezemodel_serve.py"}
    for name in ("freezemodel_c_library.c", "freezemodel_onnx.mjs"):
        assert f"cookbook/{name}" in commands


@pytest.fixture(scope="module")
def converters() -> Path:
    """The folder with the environments for tf2onnx and for JavaScript."""
    result = run_command("make .cache/tf2onnx/complete .cache/node/complete", timeout=1200)
    assert result.status == 0, result
    return ROOT / ".cache"


def link_converters(converters: Path, folder: Path) -> None:
    """Makes a copy of the repository use the same environments."""
    (folder / ".cache").mkdir(exist_ok=True)
    for name in ("tf2onnx", "node"):
        (folder / ".cache" / name).symlink_to(converters / name)


@pytest.mark.slow
def test_make_cookbook_runs_all_on_a_clean_checkout(tmp_path: Path) -> None:
    result = run_command("make cookbook", page.check_out(tmp_path))
    assert result.status == 0, result
    left_out = {name for name in SCRIPTS if f"== python cookbook/{name}" not in result.out}
    assert left_out == {"freezemodel_serve.py", "freezemodel_to_onnx.py"}
    assert result.out.rpartition("== cookbook/freezemodel_c_library.c\n")[2].startswith(
        "The calculation results : [-2.99"
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_wrong_flags_and_length(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """In this process, because there are twenty recipes."""
    main = runpy.run_path(str(ROOT / "cookbook" / name))["main"]
    for flag, status in (("--help", 0), ("--version", 0), ("--hepl", 2)):
        monkeypatch.setattr(sys, "argv", [f"cookbook/{name}", flag])
        with pytest.raises(SystemExit) as exit:
            main()
        assert (exit.value.code or 0) == status
    shown = capsys.readouterr()
    assert f"python cookbook/{name}" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert re.search(rf"^{name} [\d.]+, TensorFlow 2", shown.out, re.MULTILINE)
    assert shown.err == f"{name}: unknown argument: --hepl (nearest: --help; --help lists the flags)\n"
    assert 25 <= (ROOT / "cookbook" / name).read_text().count("\n") <= 120


def test_ctrl_c_ends_a_recipe_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cookbook/checkpoint_save.py"), "--steps", "100000000"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=USER | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert "before the training operations" in process.stdout.readline()
        assert "after the training operations" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == "checkpoint_save.py: interrupted\n"
    assert process.returncode == 130
    assert not list(tmp_path.glob("results/*.ckpt*"))


def test_ctrl_c_is_heard_while_litert_s_converter_is_silenced(tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text(
        "import os, signal, sys, time\n"
        f"sys.path.append({str(ROOT / 'cookbook')!r})\n"
        "import litert\n"
        "litert.command_line.exit_on_interrupt()\n"
        "with litert.silent():\n"
        "    print('a page of the converter', file=sys.stderr, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(20)\n"
    )
    said = "convert.py: interrupted (the conversion was not finished)\n"
    assert run_command(f"python {script}") == (130, "", said)


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
        ("freezemodel_multiple", REGRESSION, "./freeze_graph_linear_regression.sh"),
        ("freezemodel_c_library", REGRESSION, "./freeze_graph_linear_regression.sh"),
        ("freezemodel_to_litert", CNN, "make models"),
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
    """The classifier is right about unseen sums; the JSON is the .meta; the slots and the step are saved."""
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


@pytest.mark.slow
def test_checkpoint_restore_goes_on_to_the_same_bits(kitchen: Path, copy: Path) -> None:
    """The recipe compares with its own graph; this test with that of checkpoint_save.py, trained in one go."""
    assert recipe("checkpoint_save", "--steps", 1200, "--checkpoint", "results/whole.ckpt", folder=copy).status == 0
    result = recipe("checkpoint_restore", "--until", 1200, folder=copy)
    assert result.out.endswith("equal those of an uninterrupted training to the bit\n")
    whole = checkpoint.values(str(copy / "results/whole.ckpt"))
    meta_graph = checkpoint.read_meta_graph(str(kitchen / "results/graph.ckpt"))
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(inter_op_parallelism_threads=-1)) as session:
        tf.train.import_meta_graph(meta_graph).restore(session, str(kitchen / "results/graph.ckpt"))
        inputs, labels = tf.get_collection("inputs")
        classifier.train(session, tf.get_collection("train_op")[0], inputs, labels, range(1000, 1200))
        for name, value in whole.items():
            assert session.run(f"{name}:0").tobytes() == value.tobytes(), name


def test_checkpoint_restore_notices_another_training(copy: Path) -> None:
    """With lost slots the training is another one, and the comparison notices."""
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
    assert result.err.startswith("checkpoint_restore.py: not equal to an uninterrupted training: hidden/kernel")


def test_checkpoint_subset(kitchen: Path) -> None:
    assert checkpoint.values(str(kitchen / "results/subset/model.ckpt")).keys() == {"v1"}
    renamed = checkpoint.values(str(kitchen / "results/subset/renamed.ckpt"))
    assert {name: value.tolist() for name, value in renamed.items()} == {"counted/down": [-1.0] * 5}


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_variable_of_another_shape_dtype_or_name_is_refused(kitchen: Path, use_resource: bool) -> None:
    """Also in the silent case: the test first shows what TensorFlow itself does with a resource variable."""
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
    text = model_file.parse(tf.GraphDef(), (kitchen / "results/train.pbtxt").read_bytes(), "train.pbtxt", text=True)
    assert text == tf.MetaGraphDef.FromString((kitchen / "results/graph.ckpt.meta").read_bytes()).graph_def
    assert {"VariableV2", "ApplyAdagrad", "MatMul"} <= {node.op for node in text.node}
    regression = recipe("inspect_model", "--model", "saved_model/linear_regression.ckpt-1900.meta", folder=kitchen)
    assert "operations: 118\n" in regression.out
    assert "collections:\n  inputs: 2\n" in regression.out


@pytest.mark.parametrize("flags", [["--tensor", "output/bias"], ["--all"]])
def test_inspect_checkpoint_prints_values(kitchen: Path, flags: list[str]) -> None:
    bias = checkpoint.values(str(kitchen / "results/graph.ckpt"))["output/bias"]
    result = recipe("inspect_checkpoint", *flags, folder=kitchen)
    assert f"output/bias float32 [1]\n{bias}\n" in result.out


def test_inspect_checkpoint_lists_one_of_tensorflow_2(tmp_path: Path) -> None:
    """It holds a string, the object graph: a varint with its length and a checksum of 4 bytes are in .data, too."""
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable("v", initializer=[1.0, 2.0], use_resource=True)
        session.run(variable.initializer)
        tf.train.Checkpoint(v=variable).write(str(tmp_path / "object"), session=session)
    result = recipe("inspect_checkpoint", "--checkpoint", "object", folder=tmp_path)
    data = (tmp_path / "object.data-00000-of-00001").stat().st_size
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        "_CHECKPOINTABLE_OBJECT_GRAPH string []\n"
        "v/.ATTRIBUTES/VARIABLE_VALUE float32 [2]\n"
        f"2 tensors of {data - 1 - 4} bytes; .data has {data}\n"
    )
    shown = recipe(
        "inspect_checkpoint", "--checkpoint", "object", "--tensor", "v/.ATTRIBUTES/VARIABLE_VALUE", folder=tmp_path
    )
    assert "v/.ATTRIBUTES/VARIABLE_VALUE float32 [2]\n[1. 2.]\n" in shown.out


@pytest.mark.parametrize("name", ["checkpoint_restore", "inspect_model", "freezemodel_save"])
def test_a_meta_that_is_none_or_does_harm(copy: Path, name: str) -> None:
    meta = copy / "results/graph.ckpt.meta"
    whole = meta.read_bytes()
    meta.write_bytes(whole[: len(whole) // 2])
    result = recipe(name, folder=copy)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"{name}.py: not a MetaGraphDef: results/graph.ckpt.meta: ")
    meta_graph = tf.MetaGraphDef.FromString(whole)
    for which in ("name", "text"):
        constant = meta_graph.graph_def.node.add(name=which, op="Const")
        constant.attr["dtype"].type = tf.string.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(which))
    meta_graph.graph_def.node.add(name="harm", op="WriteFile", input=["name", "text"])
    next(node for node in meta_graph.graph_def.node if node.op == "GreaterEqual").input.append("^harm")
    meta.write_bytes(meta_graph.SerializeToString())
    result = recipe(name, folder=copy)
    assert (result.status, result.out) == (1, "")
    assert "operations not allowed: WriteFile in node harm" in result.err


# Frozen graphs


def test_frozen_classifier(kitchen: Path) -> None:
    frozen = tf.GraphDef.FromString((kitchen / "results/frozen_model.pb").read_bytes())
    used = {node.op for node in frozen.node}
    assert used <= operations.CALCULATION
    assert [node.name for node in frozen.node if node.op == "Placeholder"] == [PLACEHOLDER]
    values = checkpoint.values(str(kitchen / "results/graph.ckpt"))
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in frozen.node if node.op == "Const"}
    for name in ("hidden/kernel", "hidden/bias", "output/kernel", "output/bias"):
        assert np.array_equal(constants[name], values[name])
    assert run_command("sha256sum -c SHA256SUMS", kitchen / "frozen_graphs").status == 0


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        (
            "freezemodel_save",
            ["--output", "Accuracy/prediction"],
            "no such output: Accuracy/prediction (the model ends in: ",
        ),
        ("freezemodel_load", ["--input", "x"], f"no such input: prefix/x (the model has: prefix/{PLACEHOLDER})"),
        (
            "freezemodel_load",
            ["--output", "y"],
            "no such output: prefix/y (the model ends in: prefix/Accuracy/predictions; ",
        ),
        ("freezemodel_load", ["--x", "1,2"], f"wrong number of values: 2 given, the placeholder prefix/{PLACEHOLDER}"),
        ("freezemodel_load", ["--x", "1,a"], "not a number: a in --x"),
        ("freezemodel_multiple", ["--x", "1"], f"wrong number of values: 1 given, the placeholder {PLACEHOLDER}"),
        ("freezemodel_multiple", ["--sums", REGRESSION], "no such node: Accuracy/predictions, Placeholder/inputs_"),
        ("freezemodel_from_keras", ["--model", "results/frozen_model.pb"], "cannot load: results/frozen_model.pb: "),
        ("freezemodel_from_keras", ["--custom", "json:Nothing"], "no such class: json:Nothing ("),
        ("freezemodel_c_library", ["--output", "y"], "no such operation: y"),
        ("freezemodel_c_library", ["--model", "results/train.pbtxt"], "not checked: results/train.pbtxt ("),
        ("freezemodel_to_litert", ["--model", "results/train.pbtxt"], "not checked: results/train.pbtxt ("),
        ("freezemodel_to_litert", ["--model", REGRESSION], f"not float32: {REGRESSION} takes float64, "),
        ("freezemodel_to_litert", ["--images", "float64.npy"], "not the type of image: float64.npy is float64, "),
        (
            "freezemodel_to_litert",
            ["--images", "flat.npy"],
            "not the shape of image: flat.npy is [10], the input takes [?",
        ),
        ("freezemodel_to_litert", ["--images", "none.npy"], "no such file: none.npy"),
        ("savedmodel_from_frozen", ["--output", "y"], "no such output: y (the model ends in: Accuracy/predictions; "),
        ("savedmodel_from_frozen", ["--save", "saved_model"], "not a SavedModel: saved_model (it would be replaced"),
        ("savedmodel_from_checkpoint", ["--input", "x=x"], "no such node: x in results/graph.ckpt.meta (nearest: "),
        ("savedmodel_from_checkpoint", ["--input", "x"], "argument --input: not NAME=VALUES: x"),
        (
            "savedmodel_pretrained",
            ["--tag", "gpu"],
            "no such tag: gpu (python model_check.py --list results/tfckptmodel ",
        ),
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
            "not the type of inputs_1: float64.npy is float64, the input takes float32",
        ),
        ("savedmodel_pretrained", ["--feed", "inputs_1=flat.npy"], "not the shape of inputs_1: flat.npy is [10], the "),
        ("savedmodel_pretrained", ["--model", "results"], "not checked: results ("),
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
    """A frozen graph's digest shows them, before anything is calculated."""
    for path, name in (
        ("results/frozen_model.pb", "freezemodel_load"),
        (REGRESSION, "freezemodel_c_library"),
        (CNN, "freezemodel_to_litert"),
    ):
        data = bytearray((copy / path).read_bytes())
        data[-20] ^= 1
        (copy / path).write_bytes(data)
        said = f"{name}.py: not checked: {path} (python model_check.py {path} checks it; --trust takes it as it is)\n"
        assert recipe(name, folder=copy) == (1, "", said)


def test_keras_in_inference_form(kitchen: Path) -> None:
    """No dropout, no batch statistics: a row's result does not depend on other rows, and both files agree."""
    graph_def = tf.GraphDef.FromString((kitchen / "results/frozen_keras_model.pb").read_bytes())
    assert {node.op for node in graph_def.node} <= operations.CALCULATION
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
    assert result == run_program("model_consumer.py", "--model", REGRESSION, "--x", "1e308,-0,nan,0.1", folder=kitchen)
    script = "import sys; sys.argv[1:] = []; import freezemodel_c_library as r; r.main(); print(*sys.modules)"
    done = run_command(f"PYTHONPATH={ROOT}/cookbook python -c '{script}'", kitchen)
    assert (done.status, "tensorflow" in done.out.split()) == (0, False)


def test_the_c_program_prints_what_the_consumers_print(kitchen: Path) -> None:
    """For any bits that a float64 can have, including subnormal numbers, with the shortest digits."""
    bits = np.random.default_rng(7).integers(0, 1 << 64, 400, np.uint64, endpoint=False)
    x = ",".join(map(repr, [*bits.view(np.float64).tolist(), 2.0000000000000004, 2.0, 1e21, 5e-324, 1e20]))
    done = run_command(f"results/freezemodel_c_library {REGRESSION} {x}", kitchen, TF_CPP_MIN_LOG_LEVEL="3")
    expected = run_program("model_consumer.py", "--model", REGRESSION, "--x", x, folder=kitchen)
    assert (done.status, done.out) == (0, expected.out)
    assert expected.out.count(" ") > 400


def test_the_c_program_s_bad_input_is_one_line(kitchen: Path) -> None:
    for name, data in (("empty.pb", b""), ("half.pb", (kitchen / REGRESSION).read_bytes()[:300])):
        (kitchen / "results" / name).write_bytes(data)
    for words, said in (
        ("nothing.pb", "no model: nothing.pb"),
        ("results/empty.pb", "not a usable model file: results/empty.pb"),
        ("results/half.pb", "cannot load: Invalid GraphDef"),
        ("results/frozen_model.pb", "no such operation: inputs/x_sample"),
        (f"{REGRESSION} 1,2x", "not comma-separated numbers: 1,2x"),
        (f"{REGRESSION} 1 0", "not a number of calls: 0"),
    ):
        done = run_command(f"results/freezemodel_c_library {words}", kitchen)
        own = [line for line in done.err.splitlines() if line.startswith("freezemodel_c_library: ")]
        assert (done.status, done.out, own) == (1, "", [f"freezemodel_c_library: {said}"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="no valgrind: apt-get install valgrind")
@pytest.mark.parametrize("removed", ["", "\t\tTF_DeleteTensor(y);\n", "\tfree(data);\n"])
def test_the_c_program_loses_no_memory(trained: Path, tmp_path: Path, removed: str) -> None:
    """Nor does it read uninitialized memory. If it does not free something, valgrind says so."""
    source = (ROOT / "cookbook/freezemodel_c_library.c").read_text()
    assert removed in source
    (tmp_path / "program.c").write_text(source.replace(removed, "") if removed else source)
    # The library's own errors, such as protobuf's when it starts.
    (tmp_path / "library.supp").write_text("{\n library\n Memcheck:Cond\n obj:*/libtensorflow_*\n ...\n}\n")
    build = f"gcc -g -o {tmp_path}/program $CGO_CFLAGS {tmp_path}/program.c $CGO_LDFLAGS -ltensorflow"
    assert run_command(f"source {ROOT}/go_consumer/env.sh && {build}").status == 0
    kinds = "--leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect"
    check = f"valgrind --quiet {kinds} --error-exitcode=9 --suppressions={tmp_path}/library.supp {tmp_path}/program"
    done = run_command(check, trained, timeout=600)
    assert done.status == (9 if removed else 0), done.err[-3000:]
    assert ("definitely lost" in done.err) == bool(removed)
    assert done.out.startswith("The calculation results : [-2.99878349287877")


# LiteRT and ONNX


def calculate(frozen: Path, x: np.ndarray) -> np.ndarray:
    """The only output of a frozen graph, calculated by TensorFlow."""
    graph_def = tf.GraphDef.FromString(frozen.read_bytes())
    fed = {name for node in graph_def.node for name in node.input}
    (source,) = (node.name for node in graph_def.node if node.op == "Placeholder")
    (target,) = (node.name for node in graph_def.node if node.name not in fed)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(f"{target}:0", {f"{source}:0": x})


def interpreted(path: Path, rows: np.ndarray) -> tuple[np.ndarray, list[np.dtype]]:
    """The results of a `.tflite` file for float32 rows, and the types of its tensors."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == np.float32
    interpreter.resize_tensor_input(source["index"], rows.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], rows)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"]), [each["dtype"] for each in interpreter.get_tensor_details()]


def test_the_table_of_litert_files_is_true(kitchen: Path, walked: tuple[Path, list[tuple[page.Step, str]]]) -> None:
    """File sizes, and differences from TensorFlow's results, computed here in one batch."""
    (printed,) = (out for step, out in walked[1] if step.command == "python cookbook/freezemodel_to_litert.py")
    images = np.load(kitchen / "results/images.npy")
    expected = calculate(kitchen / CNN, images)
    assert f"frozen graph{(kitchen / CNN).stat().st_size:>12}\n" in printed
    sizes, eights = [], []
    for name, file in (("float32", "cnn"), ("dynamic range", "cnn_dynamic"), ("int8", "cnn_int8")):
        path = kitchen / f"results/{file}.tflite"
        results, dtypes = interpreted(path, images)
        size, difference, same = re.search(rf"^{name} +(\d+) +(.+?) +(\d) of 4$", printed, re.MULTILINE).groups()
        sizes.append(path.stat().st_size)
        eights.append(dtypes.count(np.int8))
        assert int(size) == sizes[-1]
        assert int(same) == (results.argmax(1) == expected.argmax(1)).sum()
        if file == "cnn":
            assert difference == "below 1e-05"
            np.testing.assert_allclose(results, expected, rtol=0, atol=1e-5)
        else:
            assert float(difference) == pytest.approx(np.abs(results - expected).max(), abs=0.001)
            assert float(difference) > 0
    assert max(sizes[1:]) < sizes[0] < (kitchen / CNN).stat().st_size
    assert 0 == eights[0] < eights[1] < eights[2], "weights in 8 bits, then all in between, too"


def test_litert_files_of_the_classifier_and_the_line(kitchen: Path) -> None:
    results, _ = interpreted(kitchen / "results/classifier.tflite", np.array([range(10), [5] * 10], np.float32))
    assert results.tolist() == [[False], [True]]
    results, _ = interpreted(kitchen / "results/line.tflite", np.array([[0, 1, -1, 2]], np.float32))
    np.testing.assert_allclose(results, [LINE], rtol=0, atol=1e-6)


def lacking_operation() -> object:
    """A graph with an operation that neither LiteRT nor ONNX has."""
    with tf.Graph().as_default() as graph:
        tf.identity(tf.math.igamma(2.0, tf.placeholder(tf.float32, [None, 2], "x")), "y")
    return graph.as_graph_def()


def test_an_operation_that_litert_lacks_is_named(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"^cannot convert: model.pb: LiteRT has no Igamma$"):
        litert.Frozen(lacking_operation(), "model.pb").convert()
    assert "Igamma" not in capfd.readouterr().err


def test_a_model_that_gives_no_number_is_not_called_equal(copy: Path) -> None:
    """A NaN is not larger than any tolerance."""
    images = np.load(copy / "results/images.npy")
    images[1, 3, 3, 0] = np.nan
    np.save(copy / "nan.npy", images)
    result = recipe("freezemodel_to_litert", "--images", "nan.npy", folder=copy)
    assert result.status == 1
    assert result.err.endswith(f"not equal to the results of {CNN}: float32 differs by nan\n")


@pytest.mark.slow
def test_onnx_in_python_and_javascript(kitchen: Path, converters: Path, copy: Path) -> None:
    """The results for images that the recipes have not seen, and one line for each bad input."""
    link_converters(converters, copy)
    shutil.copytree(ROOT / "cookbook", copy / "cookbook")
    python, node = ".cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py", "node cookbook/freezemodel_onnx.mjs"
    assert run_command(python, copy).status == 0
    images = np.random.default_rng(3).uniform(0, 1, [9, 28, 28, 1]).astype(np.float32)
    expected = calculate(copy / CNN, images)
    np.save(copy / "images.npy", images)
    np.save(copy / "expected.npy", expected)
    np.save(copy / "other.npy", expected + np.float32(2e-5))
    np.save(copy / "float64.npy", images.astype(np.float64))
    np.save(copy / "flat.npy", images.ravel())
    (copy / "lacking.pb").write_bytes(lacking_operation().SerializeToString())
    np.save(copy / "pairs.npy", np.ones([1, 2], np.float32))
    (copy / "cut.npy").write_bytes((copy / "images.npy").read_bytes()[:1001])
    done = run_command(f"{node} results/cnn.onnx images.npy expected.npy", copy)
    assert (done.status, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    assert last == "equal to TensorFlow's results to 0.00001"
    assert [line.partition(":")[0] for line in lines] == [f"class {label}" for label in expected.argmax(1)]
    printed = [line.split()[2:] for line in lines]
    np.testing.assert_allclose(np.array(printed, float), expected, rtol=0, atol=1.1e-5)
    for command, said in (
        (f"{python} --model none.pb", "no such file: none.pb"),
        (f"{python} --model results/cnn.onnx", "not checked: results/cnn.onnx ("),
        (f"{python} --images float64.npy", "not the type of image: float64.npy is float64, the input takes float32"),
        (f"{python} --images flat.npy", "not the shape of image: flat.npy is [7056], the input takes [?, 28, 28, 1]"),
        (f"{python} --trust --model lacking.pb --images pairs.npy --save x.onnx", "cannot convert: ONNX has no Igamma"),
        (f"{python} --hepl", "unknown argument: --hepl (nearest: --help"),
        (
            f"{node} none.onnx",
            "no such file: none.onnx (run .cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py first)",
        ),
        (f"{node} results/cnn.keras", "not an ONNX model: results/cnn.keras"),
        (f"{node} results/cnn.onnx none.npy", "no such file: none.npy (run make models first)"),
        (f"{node} results/cnn.onnx float64.npy", "not an array of float32: float64.npy"),
        (f"{node} results/cnn.onnx results/cnn.onnx", "not an array of float32: results/cnn.onnx"),
        (f"{node} results/cnn.onnx flat.npy", ""),
        (f"{node} results/cnn.onnx cut.npy", ""),
    ):
        done = run_command(command, copy)
        assert (done.status, done.out) == (2 if "unknown" in said else 1, ""), command
        assert re.fullmatch(rf"freezemodel_\w+\.\w+: {re.escape(said)}.*\n", done.err), done.err
    assert not (copy / "x.onnx").exists()
    done = run_command(f"{node} results/cnn.onnx images.npy other.npy", copy)
    assert (done.status, done.err) == (1, "freezemodel_onnx.mjs: not equal to TensorFlow's results: results/cnn.onnx\n")


# SavedModels


def run_saved(path: Path, tags: list[str], signature: str, feed: dict[str, object]) -> dict[str, np.ndarray]:
    """Runs a SavedModel with TensorFlow's own loader alone."""
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, tags, str(path)).signature_def[signature]
        fetches = {key: info.name for key, info in loaded.outputs.items()}
        return session.run(fetches, {loaded.inputs[key].name: value for key, value in feed.items()})


def meta_graph_of(path: Path, tag: str) -> object:
    """The MetaGraphDef of a SavedModel that has only this tag."""
    return model_file.find_meta_graph(model_file.read_saved_model(str(path)), [tag])


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


@pytest.mark.slow
def test_an_export_has_no_training_unless_asked(copy: Path) -> None:
    for flags, training in (([], False), (["--whole"], True)):
        export = ["--save", "exports/line/1", "--checkpoint", "saved_model"]
        names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
        result = recipe("savedmodel_from_checkpoint", *export, *names, *flags, folder=copy)
        assert (result.status, result.err) == (0, "")
        graph = meta_graph_of(copy / "exports/line/1", "serve")
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


def test_pretrained_feeds_scalars(tmp_path: Path) -> None:
    """They have rank 0, not 1, also for a string; an unknown shape counts as a scalar's."""
    with tf.Graph().as_default(), tf.Session() as session:
        text, number = tf.placeholder(tf.string, [], "text"), tf.placeholder(tf.float32, [], "number")
        outputs = {"shout": tf.strings.join([text, "!"]), "more": number + 1}
        tf.saved_model.simple_save(session, str(tmp_path / "scalar"), {"text": text, "number": number}, outputs)
    shown = "input number = number:0 float32 []\ninput text = text:0 string []\n"
    for feed, more, shout in ((["--feed", "text=abc", "--feed", "number=3"], "4.", "b'abc!'"), ([], "2.", "b'!'")):
        result = recipe("savedmodel_pretrained", "--trust", "--model", "scalar", *feed, folder=tmp_path)
        outputs = f"output more = add:0 float32 []\n{more}\noutput shout = StringJoin:0 string []\n{shout}\n"
        assert result == (0, shown + outputs, "")
    result = recipe("savedmodel_pretrained", "--trust", "--model", "scalar", "--feed", "text=a,b", folder=tmp_path)
    said = "savedmodel_pretrained.py: wrong number of values: 2 given, the placeholder text takes 1\n"
    assert result == (1, "", said)


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
            for name, signature in meta_graph_of(path, "serve").signature_def.items()
            if not name.startswith("__")
        }
        assert methods == {"prediction": "predict", "regression": "regress", "classification": "classify"}
        trained = meta_graph_of(path, "train").graph_def
        assert "ApplyGradientDescent" in {node.op for node in trained.node}


def test_two_assets_of_one_name(tmp_path: Path) -> None:
    """As the page says, the second one gets its own name."""
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
