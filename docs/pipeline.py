"""Draws the README's picture of how a model goes from training to use, for light and for dark pages.

    python docs/pipeline.py

Writes docs/pipeline.svg.
"""

from pathlib import Path
from xml.sax.saxutils import escape

TITLE = (
    "A producer trains and writes a checkpoint. The freezers make one frozen graph of it, or of a model of yours. "
    "The gate checks it. Consumers in Python, Go and Java, servers, scorers and converters use it."
)
# A box is a program, a file that programs exchange, or whatever a user brings. Each is x, y, width, height.
BOXES = {
    "producer": ("program", 10, 60, 190, 62, "model_producer.py", "trains in Python"),
    "yours": ("file", 10, 212, 190, 96, "a model of yours", "checkpoint, GraphDef,", "SavedModel, Keras file"),
    "checkpoint": ("file", 236, 60, 170, 62, "saved_model/", "checkpoint"),
    "script": ("program", 236, 150, 170, 62, "the freeze script", "one step at a time"),
    "freeze": ("program", 236, 246, 170, 62, "model_freeze.py", "freezes any model"),
    "restore": ("program", 706, 10, 244, 46, "model_consumer.py", "from the checkpoint"),
    "graph": ("file", 441, 150, 180, 62, "frozen_graphs/", "one frozen graph"),
    "gate": ("gate", 441, 246, 180, 62, "model_check.py", "the gate: judges, lists"),
    "consumers": ("program", 706, 84, 244, 62, "consumers", "Python, Go, Java"),
    "server": ("program", 706, 162, 244, 62, "serving/", "REST, gRPC, SOAP"),
    "score": ("program", 706, 240, 244, 62, "distributed/score.py", "files, all cores, Spark"),
    "export": ("program", 706, 318, 244, 62, "cookbook/", "C, LiteRT, ONNX, other ways"),
}
# Arrows between boxes, through points.
ARROWS = (
    ((200, 91), (236, 91)),
    ((321, 122), (321, 150)),
    ((406, 80), (430, 80), (430, 33), (706, 33)),
    ((200, 277), (236, 277)),
    ((406, 181), (441, 181)),
    ((406, 277), (426, 277), (426, 200), (441, 200)),
    ((105, 308), (105, 349), (531, 349), (531, 308)),
    ((531, 212), (531, 246)),
    ((621, 277), (660, 277), (660, 115), (706, 115)),
    ((660, 193), (706, 193)),
    ((660, 271), (706, 271)),
    ((660, 277), (660, 349), (706, 349)),
)
STYLE = """
    text { font: 14px "DejaVu Sans", Verdana, sans-serif; text-anchor: middle; fill: #1f2933 }
    text.name { font-weight: bold }
    rect { stroke-width: 1.5; rx: 8px }
    .program { fill: #fff3e0; stroke: #e65100 } .file { fill: #e3f2fd; stroke: #1565c0 }
    .gate { fill: #e8f5e9; stroke: #2e7d32 }
    path { fill: none; stroke: #52606d; stroke-width: 1.6 } marker path { fill: #52606d; stroke: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f4f8 }
      .program { fill: #4a2a08; stroke: #ffb74d } .file { fill: #0d3050; stroke: #64b5f6 }
      .gate { fill: #123d18; stroke: #81c784 }
      path { stroke: #bcccdc } marker path { fill: #bcccdc }
    }
"""


def draw_box(kind: str, x: int, y: int, width: int, height: int, *lines: str) -> str:
    """A box with its lines of text; the first line is its name."""
    middle, top = x + width / 2, y + (height - 18 * len(lines)) / 2 + 14
    texts = [
        f'<text x="{middle}" y="{top + 18 * number}" class="{"detail" if number else "name"}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return "\n    ".join([f'<rect x="{x}" y="{y}" width="{width}" height="{height}" class="{kind}"/>', *texts])


def draw_arrow(points: tuple[tuple[int, int], ...]) -> str:
    return f'<path d="M{" L".join(f"{x} {y}" for x, y in points)}" marker-end="url(#head)"/>'


def main() -> None:
    label = '<text x="318" y="368" class="detail">a SavedModel or frozen graph as it is</text>'
    shapes = "\n    ".join([*map(draw_arrow, ARROWS), label, *(draw_box(*box) for box in BOXES.values())])
    (Path(__file__).parent / "pipeline.svg").write_text(f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 390" role="img">
  <title>{TITLE}</title>
  <style>{STYLE}  </style>
  <defs>
    <marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
      <path d="M0 0 L10 5 L0 10 z"/>
    </marker>
  </defs>
  <g>
    {shapes}
  </g>
</svg>
""")


if __name__ == "__main__":
    main()
