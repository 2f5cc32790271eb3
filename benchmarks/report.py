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
COLORS = {True: "tab:green", False: "tab:red", None: "tab:gray"}  # of what became of the target
LEFT_OUT = ("MB", "ms")  # units that stand in the tables alone, so that the picture stays readable

PAGE = """\
# Benchmarks

Written by `make bench` in one run, on {where}.

Each figure is the median of several runs, taken in turn with those that it is compared with; the spread is the least
and the most of them. A ratio is that of the medians; the base of a comparison has 1.

![Each ratio as a bar, with its target](benchmarks.png)

## Targets
"""


def machine() -> str:
    """The processor, its cores, the memory and the versions that a figure depends on."""
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


def verdict(row: dict[str, Any]) -> str:
    """A row's target and what became of it; nothing where it has none."""
    return f"{row['target']}: {'met' if row['met'] else '**missed**'}" if row["target"] else ""


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a table of the ratios that have a target."""
    lines = ["| Compared | | Ratio | Target |", "|---|---|--:|---|"]
    for row in rows:
        if row["target"]:
            lines.append(f"| {row['title']} | {row['name']} | {row['ratio']:.2f} | {verdict(row)} |")
    return lines


def as_markdown(rows: list[dict[str, Any]], where: str) -> str:
    """The page: the machine, the ratios with a target, and a table a comparison."""
    lines = [PAGE.format(where=where), *summary(rows), ""]
    for title, group in groupby(rows, lambda row: row["title"]):
        lines += [f"## {title}", "", "| | Median | Spread | Runs | Ratio | Target |", "|---|--:|--:|--:|--:|---|"]
        for row in group:
            figures = f"{row['median']:.4g} {row['unit']} | {row['least']:.4g} to {row['most']:.4g} | {row['runs']}"
            lines.append(f"| {row['name']} | {figures} | {row['ratio']:.2f} | {verdict(row)} |")
        lines.append("")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws a chart a comparison, in two columns: the ratios as bars from 1 on a logarithmic axis, targets as marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row["unit"] not in LEFT_OUT and row["name"] != row["base"]]
    groups = [(title, list(group)) for title, group in groupby(shown, lambda row: row["title"])]
    columns: list[list[tuple[str, list[dict[str, Any]]]]] = [[], []]
    for group in groups:
        above = sum(len(rows) + 1 for column in columns for _, rows in column)
        columns[above >= (len(shown) + len(groups)) / 2].append(group)
    ratios = [row["ratio"] for row in shown] + [row["bound"] for row in shown if row["bound"]]
    height = max(sum(len(rows) + 1.6 for _, rows in column) for column in columns)
    figure = pyplot.figure(figsize=(13, 0.24 * height + 0.6), layout="constrained")
    for half, column in zip(figure.subfigures(1, 2), columns, strict=True):
        heights = [len(bars) + 0.6 for _, bars in column]
        charts = half.subplots(len(column), squeeze=False, sharex=True, height_ratios=heights)
        for axes, (title, bars) in zip(charts.flat, column, strict=True):
            positions = range(len(bars))
            widths = [row["ratio"] - 1 for row in bars]
            axes.barh(positions, widths, left=1, color=[COLORS[row["met"]] for row in bars])
            for i, row in enumerate(bars):
                bound = row["bound"] or 1
                if row["bound"]:
                    axes.plot([bound, bound], [i - 0.45, i + 0.45], color="black", linewidth=1.5)
                axes.text(max(row["ratio"], bound, 1) * 1.06, i, f"{row['ratio']:.2f}", va="center", fontsize=8)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set_yticks(positions, [row["name"] for row in bars], fontsize=8)
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.set_xlim(min(ratios) / 1.3, max(ratios) * 2)
            axes.axvline(1, color="black", linewidth=0.5)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("ratio; black mark: target; green: met, red: missed, gray: no target", fontsize=8)
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
    missed = [f"{row['title']}: {row['name']}" for row in rows if row["met"] is False]
    print(f"written: docs/benchmarks.md, docs/benchmarks.png, in {(time.monotonic() - start) / 60:.0f} minutes")
    print(f"missed targets: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
