"""Runs the README's commands from top to bottom in a fresh copy of the repository, and compares the outputs."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import page
from conftest import ROOT, run_command
from model_import_export.graph_mode import tf
from page import Step

import pytest

README = (ROOT / "README.md").read_text()
CONSUMERS, METAGRAPH, TROUBLES = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("consumers", "metagraph", "troubleshooting")
)


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("loss: 1.5\n", "loss: 1.5000000001\n", True),
        ("loss: 1.5\n", "loss: 1.50001\n", False),
        ("[0.99973094 1.5]", "[0.99973194 1.5]", True),
        ("[0.99973094 1.5]", "[0.98973094 1.5]", False),
        ("[0.0012245789718652311 -3]", "[0.0012245789718652311 -3]", True),
        ("[0.0012245789718652311 -3]", "[0.0012345789718652311 -3]", False),
        ("118 nodes\n", "117 nodes\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nx\ny\nc\n", False),
        ("done\n", "done\nmore\n", False),
        ("done\n", "", False),
    ],
)
def test_the_comparison(shown: str, printed: str, equal: bool) -> None:
    assert page.same(shown, printed) is equal


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy."""
    return page.check_out(tmp_path_factory.mktemp("checkout"))


# `make run` does all the steps that the page then does one by one. The page on the consumers follows it.
STEPS = [step for step in page.steps(README) if step.command != "make run"] + page.steps(CONSUMERS)


@pytest.fixture(scope="module")
def walked(checkout: Path) -> list[tuple[Step, str]]:
    """What the README's commands print here, without the builds: `make test` has built both programs."""
    for name in ("go_consumer/go_consumer", "java_consumer/target"):
        (checkout / name).symlink_to(ROOT / name)
    quick = [step for step in STEPS if not step.command.startswith(("go ", "mvn "))]
    return page.walk(quick, checkout, page.run_forked)


def test_every_command_prints_what_the_readme_says(walked: list[tuple[Step, str]]) -> None:
    page.check(walked)


@pytest.mark.slow
def test_every_command_as_a_user_types_it(tmp_path: Path) -> None:
    """In a shell where later commands see what earlier ones export."""
    exported = tmp_path / "exported"
    exported.touch()
    folder = page.check_out(tmp_path / "checkout")
    assert run_command("make go java", folder).status == 0  # as `make run` would have done
    page.check(
        page.walk(
            STEPS,
            folder,
            lambda command, folder: run_command(f". {exported}\n{command}\nexport -p > {exported}", folder),
        )
    )


@pytest.mark.slow
def test_make_run_prints_what_the_readme_says(tmp_path: Path) -> None:
    (step,) = [step for step in page.steps(README) if step.command == "make run"]
    result = run_command(step.command, page.check_out(tmp_path))
    assert result.status == 0
    # Here the environment already exists.
    making = re.search(r'@echo "(== making the Python environment .*)"\n', (ROOT / "Makefile").read_text())[1]
    assert page.same(step.output, f"{making}\n{page.COLOR.sub('', result.out + result.err)}"), result


def test_every_python_session_prints_what_the_readme_says(checkout: Path, walked: list[tuple[Step, str]]) -> None:
    (checkout / "sessions.txt").write_text("\n".join(page.blocks(METAGRAPH, "pycon")))
    options = "-o doctest_optionflags='NUMBER ELLIPSIS' --doctest-glob=sessions.txt -p no:cacheprovider"
    result = run_command(f"python -m pytest -q {options} sessions.txt", checkout)
    assert result.status == 0, result.out
    assert "1 passed" in result.out
    assert sum(text.count(">>> ") for text in page.blocks(METAGRAPH, "pycon")) > 15


def test_blocks_that_do_not_run_are_these() -> None:
    assert [text.split()[1:3] for text in page.blocks(README, "console", run=False)] == [
        ["git", "clone"],
        ["tensorboard", "--logdir"],
    ]
    for text, languages in ((README, {"console"}), (CONSUMERS, {"console", "sh"}), (METAGRAPH, {"pycon"})):
        assert {match["language"] for match in page.BLOCK.finditer(text)} == languages
        assert text.count("\n```") == 2 * len(list(page.BLOCK.finditer(text))), "every fence belongs to a block"
    assert not page.blocks(CONSUMERS, "console", run=False)


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md")], ids=lambda path: path.name)
def test_links_and_pictures_are_there(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_without_the_environment_one_line_says_what_to_do() -> None:
    for program in ("model_producer.py", "model_check.py", "model_freeze.py", "model_consumer.py"):
        done = run_command(f"python -S {program}")
        assert done.err.count("\n") == 1, done
        assert "run make venv, then source .venv/bin/activate" in done.err
    for program in ("cookbook/inspect_model.py", "distributed/score.py", "serving/model_server.py"):
        assert run_command(f"python -S {program}").err.splitlines()[-1] in TROUBLES


def troubles(folder: Path) -> dict[str, object]:
    """Code that makes TensorFlow raise the errors on the troubles page."""
    prefix = str(folder / "saved_model" / "linear_regression.ckpt-1900")
    frozen = tf.GraphDef.FromString((folder / "frozen_graphs" / "frozen_linear_regression.pb").read_bytes())
    unfrozen = tf.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes()).graph_def

    def graph(graph_def: object = frozen) -> object:
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(graph_def, name="")
        return imported

    def unknown_operation() -> None:
        graph_def = tf.GraphDef()
        graph_def.node.add(name="x", op="NotAnOperation")
        graph(graph_def)

    def calculate(graph_def: object) -> None:
        with tf.Session(graph=graph(graph_def)) as session:
            session.run("linear_regression/add:0", {"inputs/x_sample:0": [[0.1]]})

    def run(build: Callable[[], object], feed: dict[str, object] | None = None) -> None:
        with tf.Graph().as_default(), tf.Session() as session:
            session.run(build(), feed)

    def add() -> object:
        keep_prob = tf.placeholder(tf.float32, [None, 2], "keep_prob")
        return keep_prob + tf.placeholder(tf.float32, [None, 2], "x")

    def look_up() -> object:
        entries = tf.lookup.KeyValueTensorInitializer(["a"], [1])
        return tf.lookup.StaticHashTable(entries, 0).lookup(tf.constant(["a"]))

    def concatenate() -> object:
        return tf.concat([tf.placeholder(tf.float32, [None, 2], name) for name in ("x", "y")], 1)

    one, two, three = ([[1.0, 2.0]] * count for count in (1, 2, 3))

    def freeze_a_tensor() -> None:
        with tf.Session(graph=graph()) as session:
            tf.graph_util.convert_variables_to_constants(session, frozen, ["y:0"])

    def restore(path: str) -> None:
        with tf.Graph().as_default(), tf.Session() as session:
            tf.train.import_meta_graph(f"{prefix}.meta").restore(session, path)

    return {
        "You must feed a value for placeholder tensor 'keep_prob'": lambda: run(add, {"x:0": one}),
        "Incompatible shapes:": lambda: run(add, {"x:0": two, "keep_prob:0": three}),
        "ConcatOp : Dimension 0 in both shapes must be equal": lambda: run(concatenate, {"x:0": one, "y:0": two}),
        "Table not initialized.": lambda: run(look_up),
        "Op type not registered '": unknown_operation,
        "AssertionError: y:0 is not in graph": freeze_a_tensor,
        "refers to an Operation, not a Tensor": lambda: graph().get_tensor_by_name("linear_regression/add"),
        "IndexError: list index out of range": lambda: graph(unfrozen).get_collection("inputs")[0],
        "Attempting to use uninitialized value model_variables/": lambda: calculate(unfrozen),
        "perhaps your file is in a different file format and you need to use a different restore operator?": (
            lambda: restore(f"{prefix}.data-00000-of-00001")
        ),
        "The passed save_path is not a valid checkpoint: /old/": lambda: restore(f"/old/{prefix}"),
    }


def test_troubles_are_quoted_to_the_letter(trained: Path) -> None:
    for message, cause in troubles(trained).items():
        assert message in TROUBLES
        with pytest.raises(Exception) as error:  # noqa: PT011
            cause()
        assert message in f"{type(error.value).__name__}: {error.value}"
    page = "No dashboards are active for the current data set."
    assert page in TROUBLES


def test_troubles_of_other_languages_are_quoted_to_the_letter(trained: Path, tmp_path: Path) -> None:
    """Errors from the compiler, the linker and Java; Go's own tests compare those of a running Go program."""
    shutil.copytree(ROOT / "java_consumer" / "target" / "lib", tmp_path / "lib")
    shutil.copy(ROOT / "java_consumer" / "target" / "java_consumer.jar", tmp_path)
    next(tmp_path.glob("lib/tensorflow-core-native-*-*.jar")).unlink()
    clean = {"CGO_CFLAGS": "", "CGO_LDFLAGS": "", "LIBRARY_PATH": "", "CPATH": ""}
    compile_it = "gcc -x c - -o /dev/null -ltensorflow"
    for message, command in (
        ("fatal error: tensorflow/c/c_api.h: No such file", f"echo '#include \"tensorflow/c/c_api.h\"' | {compile_it}"),
        ("cannot find -ltensorflow", f"echo 'int main() {{ return 0; }}' | {compile_it}"),
        ("no jnitensorflow in java.library.path", f"java -jar {tmp_path}/java_consumer.jar"),
    ):
        assert message in TROUBLES
        assert message in run_command(command, trained, **clean).err


def test_float32_is_cast_in_silence_as_the_readme_says(trained: Path) -> None:
    import numpy as np

    frozen = tf.GraphDef.FromString((trained / "frozen_graphs" / "frozen_linear_regression.pb").read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        (y,) = tf.import_graph_def(frozen, return_elements=["inputs/x_sample:0"])
        x = session.run(tf.identity(y), {y: np.array([[0.1]], np.float32)})
    assert x.dtype == np.float64
    assert f"{x[0, 0]:.11f}" == "0.10000000149"


@pytest.mark.slow
def test_tensorboard_serves_the_summaries(trained: Path) -> None:
    import json
    import sys
    import urllib.request

    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from tensorboard_server import start_tensorboard
    finally:
        sys.path.pop(0)
    with start_tensorboard(str(trained / "summaries")) as url:
        with urllib.request.urlopen(f"{url}data/plugin/scalars/tags") as reply:
            tags = json.load(reply)
        with urllib.request.urlopen(f"{url}data/plugin/histograms/tags") as reply:
            histograms = json.load(reply)
    assert sorted(tags["linear_regression"]) == [
        "model_variables/intercept_1",
        "model_variables/slope_1",
        "optimizer/loss",
    ]
    assert len(histograms["linear_regression"]) == 3
