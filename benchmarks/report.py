"""Runs all comparisons and writes them as one table and one picture, for the README.

    python benchmarks/report.py

Writes docs/benchmarks.md and docs/benchmarks.png. A row that misses its target is shown as such.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from measure import ROOT, ROWS

BENCHMARKS = ("producer", "consumers", "serving", "distributed")
DOCS = ROOT / "docs"
PACKAGES = ("tensorflow", "numpy", "fastapi", "uvicorn", "grpcio", "pyarrow", "pyspark", "onnxruntime")


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
    return f"{processor}, {os.cpu_count()} cores, {gigabytes:.0f} GiB; {', '.join(versions)}"


def run_all() -> list[dict[str, Any]]:
    """Runs the benchmarks, which print as they go. Returns their rows."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows")
        for name in BENCHMARKS:
            print(f"== python benchmarks/{name}.py", flush=True)
            command = [sys.executable, f"benchmarks/{name}.py"]
            subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {ROWS: str(rows)})
        return [json.loads(line) for line in rows.read_text().splitlines()]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """A table a comparison: median, spread, ratio, target."""
    lines = ["# Benchmarks", "", "Written by `make bench`, in one run: medians of several runs taken in turn, and their spread.", ""]
    lines += [f"{machine()}.", "", "![The ratios, and which of them miss their target](benchmarks.png)", ""]
    for title, group in groupby(rows, lambda row: row["title"]):
        lines += [f"## {title}", "", "| | Median | Spread | Ratio | Target |", "|---|--:|--:|--:|---|"]
        for row in group:
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            target = {True: f"{row['target']}: met", False: f"**{row['target']}: missed**", None: ""}[row["met"]]
            spread = f"{row['least']:.4g} to {row['most']:.4g}"
            lines.append(f"| {row['name']} | {row['median']:.4g} {row['unit']} | {spread} | {ratio} | {target} |")
        lines.append("")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws the ratios as bars from 1, on a logarithmic axis, in the colour of what became of the target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row["ratio"] and row["ratio"] > 0 and row["ratio"] != 1]
    colors = {True: "tab:green", False: "tab:red", None: "tab:gray"}
    figure, axes = pyplot.subplots(figsize=(11, 0.27 * len(shown) + 1.5), layout="constrained")
    labels = [f"{row['title']}: {row['name']}" for row in shown]
    positions = range(len(shown))
    axes.barh(positions, [row["ratio"] - 1 for row in shown], left=1, color=[colors[row["met"]] for row in shown])
    for i, row in enumerate(shown):
        if row["target"]:
            axes.plot([float(row["target"][2:])] * 2, [i - 0.4, i + 0.4], color="black")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.5)
    axes.set_yticks(positions, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ratio to the base of each comparison; black: the target; green: met, red: missed, gray: none")
    figure.savefig(path, dpi=110)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = run_all()
    (DOCS / "benchmarks.md").write_text(as_markdown(rows))
    draw(rows, DOCS / "benchmarks.png")
    missed = [f"{row['title']}: {row['name']}" for row in rows if row["met"] is False]
    print(f"\nwritten: docs/benchmarks.md, docs/benchmarks.png; missed targets: {len(missed)}")
    for line in missed:
        print(f"  {line}")


if __name__ == "__main__":
    main()
