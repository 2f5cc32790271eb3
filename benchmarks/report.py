"""Runs all comparisons and writes them as tables and a picture, for the README.

    python benchmarks/report.py

Writes docs/benchmarks.md and docs/benchmarks.png. A row that misses its target is shown as such, and named at the end.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from measure import ROOT, ROWS
from model_import_export import command_line

BENCHMARKS = ("producer", "consumers", "formats", "serving", "distributed")
DOCS = ROOT / "docs"
PACKAGES = ("tensorflow", "numpy", "fastapi", "uvicorn", "grpcio", "pyarrow", "pyspark", "onnxruntime")
COLORS = {True: "tab:green", False: "tab:red", None: "tab:gray"}  # by whether the target was met
# What the picture shows, and how a ratio becomes a speed. Memory, percentiles and growth are only in the tables.
SPEEDS: dict[str, Callable[[float], float]] = {
    "time": lambda ratio: 1 / ratio,
    "processor time": lambda ratio: 1 / ratio,
    "throughput": lambda ratio: ratio,
}

PAGE = """\
# Benchmarks

Written by `make bench` in one run, on {where}.

Each figure is the median of several runs, taken in turn with those it is compared with; the spread is the least and the
most of them. A ratio is that of the medians; the baseline of a comparison has 1.

![The speed of each program as a bar from the baseline, with its target](benchmarks.png)

## Targets
"""


def machine() -> str:
    """The processor, its cores, the memory and the versions that the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    tools = {"Go": ["go", "version"], "Java": ["java", "-version"]}
    versions = [f"Python {platform.python_version()}"]
    for name, command in tools.items():
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        versions.append(f"{name} {re.search(r'[0-9]+[.0-9]+', done.stdout + done.stderr)[0]}")
    versions += [f"{name} {version(name)}" for name in PACKAGES]
    processor = model[1] if model else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {gigabytes:.0f} GiB; {platform.system()}, {', '.join(versions)}"


def run_all(rounds: int | None) -> list[dict[str, Any]]:
    """Runs the benchmarks, which print as they go. Returns the rows of their tables."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows")
        for name in BENCHMARKS:
            print(f"\n== python benchmarks/{name}.py", flush=True)
            command = [sys.executable, f"benchmarks/{name}.py", *([f"--rounds={rounds}"] if rounds else [])]
            status = subprocess.run(command, cwd=ROOT, env=os.environ | {ROWS: str(rows)}).returncode
            if status:
                sys.exit(f"report.py: benchmarks/{name}.py failed, nothing is written: status {status} (see above)")
        return [json.loads(line) for line in rows.read_text().splitlines()]


def head(row: dict[str, Any]) -> str:
    """What a comparison measures, and relative to what."""
    return f"{row['title']}: {row['kind']} relative to {row['base']}"


def verdict(row: dict[str, Any]) -> str:
    """A row's target and whether it was met; empty if it has none."""
    return f"{row['target']}: {'met' if row['met'] else '**missed**'}" if row["target"] else ""


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of the table of ratios that have a target."""
    lines = ["| Compared | | Ratio | Target |", "|---|---|--:|---|"]
    for row in rows:
        if row["target"]:
            lines.append(f"| {head(row)} | {row['name']} | {row['ratio']:.2f} | {verdict(row)} |")
    return lines


def as_markdown(rows: list[dict[str, Any]], where: str) -> str:
    """The page: the machine, the ratios with a target, and one table per comparison."""
    lines = [PAGE.format(where=where), *summary(rows), ""]
    for title, group in groupby(rows, head):
        lines += [f"## {title}", "", "| | Median | Spread | Runs | Ratio | Target |", "|---|--:|--:|--:|--:|---|"]
        for row in group:
            figures = f"{row['median']:.4g} {row['unit']} | {row['least']:.4g} to {row['most']:.4g} | {row['runs']}"
            lines.append(f"| {row['name']} | {figures} | {row['ratio']:.2f} | {verdict(row)} |")
        lines.append("")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws one chart per comparison: speeds as bars from the baseline's 1 on a logarithmic axis, targets as marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row["kind"] in SPEEDS and row["name"] != row["base"]]
    groups = [(title, list(group)) for title, group in groupby(shown, lambda row: (row["title"], row["base"]))]
    speeds = [SPEEDS[row["kind"]](row[key]) for row in shown for key in ("ratio", "bound") if row[key]]
    heights = [len(bars) + 1.1 for _, bars in groups]
    figure = pyplot.figure(figsize=(9, 0.27 * sum(heights) + 0.5), layout="constrained")
    charts = figure.subplots(len(groups), squeeze=False, sharex=True, height_ratios=heights)
    for axes, ((title, base), bars) in zip(charts.flat, groups, strict=True):
        for position, row in enumerate(bars):
            as_speed = SPEEDS[row["kind"]]
            speed = as_speed(row["ratio"])
            axes.barh(position, speed - 1, left=1, color=COLORS[row["met"]])
            if row["bound"]:
                axes.vlines(as_speed(row["bound"]), position - 0.45, position + 0.45, color="black", linewidth=2)
            axes.text(1.01, position, f"{speed:.2f}", va="center", fontsize=9, transform=axes.get_yaxis_transform())
        axes.set_title(f"{title} (1 = {base})", fontsize=10, loc="left")
        axes.set_yticks(range(len(bars)), [row["name"] for row in bars], fontsize=9)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(min(speeds) / 1.3, max(speeds) * 1.3)
        axes.axvline(1, color="black", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(
        "speed relative to the baseline (of a time, the inverse of its ratio), faster to the right\n"
        "black mark: target; green: met; red: missed; gray: no target",
        fontsize=9,
    )
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--rounds", metavar="N", type=int, help="runs of each (default: what each benchmark finds enough)"
    )
    flags = parser.parse_args()
    start = time.monotonic()
    where = f"{date.today()}: {machine()}"
    rows = run_all(flags.rounds)
    page = as_markdown(rows, where)
    (DOCS / "benchmarks.md").write_text(page)
    draw(rows, DOCS / "benchmarks.png")
    print(f"\n{page}")
    missed = [f"{head(row)}: {row['name']}" for row in rows if row["met"] is False]
    print(f"written: docs/benchmarks.md, docs/benchmarks.png, in {(time.monotonic() - start) / 60:.0f} minutes")
    print(f"missed targets: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
