"""What the recipes share about SavedModels: writing a folder whole or not at all, loading it, and running it."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_import_export import model_file, tensors
from model_import_export.graph_mode import tf


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[str]:
    """Yields a folder to write a SavedModel to, which replaces `path` if no exception is raised.

    Raises:
        ValueError: `path` exists and is not a SavedModel; it is left alone.
    """
    path = Path(path)
    if path.exists() and not any((path / name).exists() for name in model_file.SAVED_MODEL_FILES):
        raise ValueError(f"not a SavedModel: {path} (it would be replaced; remove it, or name another folder)")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    try:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
        yield str(partial)
        if path.exists():
            path.rename(old)
        partial.rename(path)
    finally:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)


def load(session: Any, folder: str, tags: Sequence[str]) -> Any:
    """Loads the MetaGraphDef with these tags into a session's graph and returns it. Raises ModelError."""
    with session.graph.as_default(), model_file.explaining(folder, ",".join(tags)):
        return tf.saved_model.loader.load(session, tags, folder)


def calculate(session: Any, meta_graph: Any, signature: str, feed: Mapping[str, Any]) -> dict[str, Any]:
    """Feeds and fetches by the keys of a signature.

    Raises:
        ModelError: the model has no such signature.
        ValueError: the keys are not those of its inputs.
    """
    ends = tensors.keys_of(session.graph, meta_graph, signature)
    if set(feed) != set(ends.inputs):
        wanted = ", ".join(ends.inputs)
        raise ValueError(f"not the inputs of {signature}: {', '.join(sorted(feed)) or 'none'} (it takes: {wanted})")
    results = session.run(dict(ends.outputs), {ends.inputs[key]: value for key, value in feed.items()})
    return {key: tensors.as_array(result) for key, result in results.items()}


def print_files(folder: str) -> None:
    """Prints the files of a SavedModel with their sizes."""
    for path in sorted(Path(folder).rglob("*")):
        empty = path.is_dir() and not os.listdir(path)
        if path.is_file() or empty:
            print(f"  {path.relative_to(folder)}{'/ (empty)' if empty else f' {path.stat().st_size}'}")
