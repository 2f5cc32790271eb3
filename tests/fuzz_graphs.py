"""Feeds randomly changed graphs to the gate, and runs those it accepts, each in a process of its own.

    python tests/fuzz_graphs.py --graphs 10000 --seed 1

Every operation on the gate's list is built with plausible attributes and then changed: attributes, types, shapes,
contents of constants, edges, functions, files of SavedModels. What the gate accepts is run as a consumer runs it, on
extreme values. Nothing may crash, hang, or take gigabytes, neither there nor while the gate judges. A finding is
printed with the graph and the flags that repeat it; the exit status is 1 if there is one.
"""

import argparse
import contextlib
import gc
import itertools
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from model_import_export import ModelError, graph_check, trial
from model_import_export.graph_mode import session_config, tf
from model_import_export.operations import BRANCHES, CALCULATION, CALLS, START, VARIABLES
from random_graphs import RandomGraph, fill, make_template, takes_handles, write_saved_model

JUDGE_SECONDS, RUN_SECONDS, MEMORY = 30, 10, 2 << 30


def run_model(path: str, feeds: Mapping[str, Sequence[Mapping[str, Sequence[int]]]], seed: str) -> None:
    """Runs an accepted model as the consumers do, on extreme values."""
    drawn = random.Random(seed)
    with tf.Session(graph=tf.Graph(), config=session_config()) as session, session.graph.as_default():
        signatures = None
        if os.path.isdir(path):
            meta_graph = tf.saved_model.loader.load(session, ["serve"], path, clear_devices=True)
            signatures = meta_graph.signature_def
        else:
            graph_def = tf.GraphDef.FromString(Path(path).read_bytes())
            for node in graph_def.node:
                node.device = ""
            tf.import_graph_def(graph_def, name="")
        for key, found in feeds.items():
            tensors = [t for op in session.graph.get_operations() for t in op.outputs] if signatures is None else [
                session.graph.get_tensor_by_name(info.name) for info in signatures[key].outputs.values()
            ]  # fmt: skip
            tensors = [t for t in tensors if t.dtype not in (tf.resource, tf.variant)]
            ends = [t for t in tensors if not t.consumers() and t.op.type not in ("Const", "Placeholder")]
            rows = {
                name: shape[0]
                for name, shape in (found[-1] if found else {}).items()
                if shape and shape != found[0][name]
            }
            between = [{name: (count, *shape[1:]) if name in rows else shape for name, shape in found[-1].items()}
                       for count in (0, 2, 3, 7) if rows]  # fmt: skip
            for shapes, wild in itertools.product([*found, *between], (0.0, 0.3, 1.0)):
                arrays = {}
                for name, shape in shapes.items():
                    dtype = session.graph.get_tensor_by_name(name).dtype.base_dtype.name
                    arrays[name] = fill(drawn, dtype, shape, wild)
                    if dtype == "string" and drawn.random() < 0.5:
                        example = tf.train.Example()
                        for each in ("s", "d", "r"):
                            example.features.feature[each].float_list.value.extend([1.0, 2.0, 3.0])
                        arrays[name][...] = example.SerializeToString()
                for fetched in (ends, tensors, *([t] for t in drawn.sample(ends, min(2, len(ends))))):
                    signal.alarm(RUN_SECONDS)
                    try:
                        if fetched:
                            session.run(fetched, arrays)
                    except (tf.errors.OpError, ValueError, TypeError) as error:
                        if "No OpKernel" in str(error):  # building this message takes a second
                            return


class Outcome(NamedTuple):
    """How a child process ended."""

    status: str  # empty if all is well
    seconds: float
    peak: int  # bytes


def in_child(work: Callable[[], Any], seconds: float) -> Outcome:
    """Calls a function in a forked process, which is killed if it exceeds the limits."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
            resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
            work()
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError, KeyError):
            status = 0  # an error with a message does no harm
        except BaseException:
            status = 1
        os._exit(status)
    descriptor = os.pidfd_open(pid)
    ended = select.select([descriptor], [], [], 2 * seconds)[0]
    os.close(descriptor)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    peak, taken = usage.ru_maxrss << 10, time.monotonic() - began
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        hangs = not ended or name in ("SIGXCPU", "SIGALRM")
        return Outcome(f"takes more than {RUN_SECONDS} s" if hangs else f"ends by {name}", taken, peak)
    if peak > MEMORY:
        return Outcome(f"takes {peak >> 20} MiB", taken, peak)
    return Outcome("ends by an exception" if status else "", taken, peak)


def judge(path: str) -> tuple[str, Any, float]:
    """What the gate says about a model, the verdict if it accepts it, and the seconds taken."""
    began = time.monotonic()
    try:
        return "", graph_check.judge(path), time.monotonic() - began
    except (ModelError, OSError) as error:
        return str(error) or "an error without words", None, time.monotonic() - began


def faults_of_words(said: str) -> str:
    """What is wrong with an error's text; empty if nothing."""
    if "\n" in said or not said.isprintable():
        return "the error is not one printable line"
    if any(word in said for word in ("Traceback", "Error:", " object at 0x", "<class", "NoneType")):
        return "the error is of Python"
    if len(said) > 4000:
        return "the error is long"
    return ""


class Report:
    """Counts graphs, and prints findings as they come."""

    def __init__(self) -> None:
        self.findings, self.accepted, self.judged = 0, Counter(), Counter()
        self.slowest, self.largest = 0.0, 0

    def find(self, what: str, again: str, said: str, text: str) -> None:
        self.findings += 1
        print(f"== {what}\n   {again}\n   {said}\n{text}", flush=True)


def text_of(path: str, drawn: RandomGraph) -> str:
    """The nodes of a graph, with constants shortened."""
    lines = []
    for where, nodes in [
        ("", drawn.graph_def.node),
        *((f.signature.name, f.node_def) for f in drawn.graph_def.library.function),
    ]:
        for node in nodes:
            if os.path.isdir(path) and node.name not in {each.name for each in drawn.touched}:
                continue
            shown = " ".join(f"{key}={' '.join(str(value).split())[:300]}" for key, value in sorted(node.attr.items()))
            lines.append(f"   {where} {node.op} {node.name} {list(node.input)} {shown}")
    return "\n".join(lines)


def make(index: int, seed: int, op: str, folder: str, template: str, plain: bool) -> tuple[str, RandomGraph]:
    """Writes the model with this number. Returns its path and what was drawn."""
    drawn = RandomGraph(f"{seed}/{index}/{op}")
    if takes_handles(op) or drawn.random.random() < 0.05:
        path = os.path.join(folder, f"saved_{index}")
        write_saved_model(drawn, op, template, path, plain)
        return path, drawn
    for _ in range(0 if plain else drawn.random.choice([0, 0, 0, 1, 2])):
        drawn.add()
    drawn.operation(op)
    if not plain and drawn.random.random() < 0.08:
        with contextlib.suppress(TypeError, IndexError, KeyError, AttributeError):
            drawn.call()
    for _ in range(0 if plain else drawn.random.choice([0, 1, 1, 1, 2, 3, 4])):
        drawn.change()
    path = os.path.join(folder, f"graph_{index}.pb")
    Path(path).write_bytes(drawn.graph_def.SerializeToString())
    return path, drawn


def examine(index: int, flags: argparse.Namespace, ops: Sequence[str], folder: str, report: Report) -> None:
    """Makes, judges and runs one graph."""
    op = ops[index % len(ops)]
    path, drawn = make(index, flags.seed, op, folder, os.path.join(folder, "template"), flags.plain)
    again = f"--seed {flags.seed} --start {index} --graphs 1" + (
        f" --operations {flags.operations}" if flags.operations else ""
    )
    report.judged[op] += 1
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    said, verdict, seconds = "", None, 0.0
    try:
        said, verdict, seconds = judge(path)
    except Exception as error:
        report.find(f"the gate raises {type(error).__name__}", again, str(error), text_of(path, drawn))
    report.slowest = max(report.slowest, seconds)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    if seconds > JUDGE_SECONDS or peak > max(MEMORY, before):
        report.find(f"the gate takes {seconds:.1f} s, {peak >> 20} MiB", again, said, text_of(path, drawn))
    report.largest = max(report.largest, peak)
    if fault := faults_of_words(said):
        report.find(fault, again, said, text_of(path, drawn))
    if flags.verbose:
        print(
            f"{index} {op} {seconds:.2f} s {said or 'accepted'}\n{text_of(path, drawn) if flags.graphs == 1 else ''}",
            flush=True,
        )
    if verdict is not None:
        report.accepted[op] += 1
        feeds = {key: [dict(feed.shapes) for feed in found] for key, found in verdict.feeds.items()}
        outcome = in_child(lambda: run_model(path, feeds, f"{flags.seed}/{index}"), 6 * RUN_SECONDS)
        if outcome.status:
            report.find(f"accepted, and {outcome.status}", again, str(feeds), text_of(path, drawn))
    elif "ends the process" in said or "takes more than" in said:
        report.judged["(trial)"] += 1
        if flags.trials:
            print(f"-- trial: {again}: {said}\n{text_of(path, drawn)}", flush=True)
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def supervised(path: str, work: Callable[..., Any], *arguments: Any, seconds: int = trial.SECONDS) -> Any:
    """`trial.run`, but with the work in a child of this process, whose memory is then known."""
    kind, value = trial._supervise(path, work, arguments, seconds, ())
    if kind == "error":
        raise ModelError(value)
    return value


@contextlib.contextmanager
def workplace() -> Iterator[str]:
    """Yields a folder with the template. TensorFlow is imported but never used in this process."""
    tf.GraphDef  # noqa: B018
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        template = os.path.join(folder, "template")
        assert in_child(lambda: make_template(template), 60).status == ""
        yield folder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", metavar="N", type=int, default=1000, help="how many graphs")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="from which all is drawn")
    parser.add_argument("--start", metavar="N", type=int, default=0, help="number of the first graph")
    parser.add_argument("--operations", metavar="OP,...", help="only these (default: all on the gate's list)")
    parser.add_argument("--plain", action="store_true", help="change nothing: what is never accepted has no good draft")
    parser.add_argument("--verbose", action="store_true", help="print what the gate says of each graph")
    parser.add_argument("--trials", action="store_true", help="print the graphs that only the trial refuses")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    trial.run = supervised
    every = CALCULATION | VARIABLES | START
    ops = flags.operations.split(",") if flags.operations else sorted(every - CALLS - BRANCHES - {"Const"})
    report, began = Report(), time.monotonic()
    with workplace() as folder:
        for index in range(flags.start, flags.start + flags.graphs):
            examine(index, flags, ops, folder, report)
    accepted = sum(report.accepted.values())
    print(
        f"{flags.graphs} graphs in {time.monotonic() - began:.0f} s: {accepted} accepted, {report.findings} findings; "
        f"{report.judged['(trial)']} refused by the trial alone; the slowest judged in {report.slowest:.1f} s, "
        f"the largest took {report.largest >> 20} MiB"
    )
    if never := [op for op in ops if report.judged[op] and not report.accepted[op]]:
        print(f"never accepted: {' '.join(never)}")
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    main()
