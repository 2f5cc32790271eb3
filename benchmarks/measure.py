"""Code that the benchmarks share: runs and measures commands in turn, and prints medians, spreads and ratios."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
ROWS = "BENCHMARK_ROWS"  # the environment variable that names the file for the rows, one JSON object per line
KINDS = {"s": "time", "us": "time", "ms": "time", "1/s": "throughput", "MB": "memory", "kB": "size"}
Name = TypeVar("Name", bound=Hashable)
Taken = TypeVar("Taken")


class Used(NamedTuple):
    """What a command used."""

    seconds: float  # wall time
    processor: float  # seconds, including threads and children
    megabytes: float  # most resident memory
    output: str


def run(command: Sequence[object], stdin: Path | None = None, keep: bool = False, **settings: str) -> Used:
    """Runs a command that must succeed, with these environment variables. Its output is kept or discarded."""
    words = list(map(str, command))
    with open(stdin or os.devnull, "rb") as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        sink = out if keep else subprocess.DEVNULL
        process = subprocess.Popen(words, cwd=ROOT, stdin=source, stdout=sink, stderr=err, env=os.environ | settings)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            err.seek(0)
            sys.exit(f"{os.path.basename(sys.argv[0])}: failed: {' '.join(words)}: {err.read().decode()[-500:]}")
        out.seek(0)
        return Used(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode())


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for large files, on the project's disk: /tmp may be in memory."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        yield Path(folder)


def in_turn(rounds: int, measure: Mapping[Name, Callable[[], Taken]]) -> dict[Name, list[Taken]]:
    """Takes all measurements in turn (A B A B), `rounds` times. A terminal shows the progress."""
    taken: dict[Name, list[Taken]] = {name: [] for name in measure}
    with tqdm(list(measure) * rounds, leave=False, disable=None) as bar:
        for name in bar:
            bar.set_description(str(name))
            taken[name].append(measure[name]())
    return taken


def table(
    title: str,
    unit: str,
    taken: Mapping[str, Sequence[float]],
    base: str,
    targets: Mapping[str, str] | None = None,
    kind: str = "",
) -> None:
    """Prints medians, spreads, ratios to the median of the base, and targets for the ratios.

    Args:
        title: what is compared; what the ratio measures, and relative to what, is appended.
        targets: by name, such as `<= 1.15`.
        kind: what the ratio measures; by default what the unit measures. With "throughput" in seconds, less is more.
    """
    kind = kind or KINDS[unit]
    print(f"\n{title}: {kind} relative to {base}")
    floor = statistics.median(taken[base])
    for name, values in taken.items():
        median, target = statistics.median(values), (targets or {}).get(name, "")
        ratio = floor / median if kind == "throughput" and KINDS[unit] == "time" else median / floor
        bound = float(target[2:]) if target else None
        met = None if bound is None else ratio <= bound if target[0] == "<" else ratio >= bound
        spread = f"{min(values):.4g} to {max(values):.4g}"
        verdict = {None: "", True: f"  (target {target}: met)", False: f"  (target {target}: MISSED)"}[met]
        print(f"  {name:28} {median:10.4g} {unit:5} ({spread:18}) {ratio:8.2f}{verdict}", flush=True)
        if ROWS in os.environ:
            row = dict(
                title=title,
                kind=kind,
                name=name,
                base=base,
                unit=unit,
                target=target,
                bound=bound,
                met=met,
                ratio=ratio,
            )
            row |= dict(median=median, least=min(values), most=max(values), runs=len(values))
            with open(os.environ[ROWS], "a") as file:
                file.write(json.dumps(row) + "\n")
