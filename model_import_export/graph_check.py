"""The gate: judges a model before TensorFlow loads it in a process that matters.

A graph is a program: one with `WriteFile` writes files, one of 660 bytes can ask for terabytes or loop forever, and
some crash the process, which no `except` catches. `judge` first applies rules: `graph_rules` to every node and to what
can be fetched, `sizes` to how large that gets, `variables_file` to the values of variables, and this module to what
loading a SavedModel or checkpoint runs. A model that the rules accept is then loaded and run, on one row and on a full
batch. All of this happens in a process under limits (`trial`).
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import ModelError, description, digests, model_file, tensors, trial, variables_file
from model_import_export.graph_mode import session_config, tf
from model_import_export.graph_rules import (
    Body,
    Step,
    check_operations,
    dtype_name,
    follow,
    operation_name,
    output_dtype,
    read_bodies,
    split,
    tensor_name,
    write_out,
)
from model_import_export.operations import CALCULATION, START, TABLES, VARIABLES
from model_import_export.rows import TYPES, Placeholder, numpy_type
from model_import_export.sizes import Feed, Sizes, find_feeds, most_rows, variable_key

import numpy as np

SECONDS = 8  # of processor time to import a graph that is only listed
INIT, TRAIN = "__saved_model_init_op", "__saved_model_train_op"
NO_NAMES = tensors.Names()


class Verdict(NamedTuple):
    """An accepted model: the lines to print, and the feeds that were tried, by signature."""

    lines: list[str]
    feeds: Mapping[str, list[Feed]]


def judge(path: str, names: tensors.Names = NO_NAMES, allow: Collection[str] = (), serve: int = 0) -> Verdict:
    """Judges a frozen graph, a SavedModel with all its signatures, or the requested outputs of a checkpoint.

    Args:
        path: a file, a folder, or a checkpoint's prefix.
        names: for a checkpoint, the requested input and outputs.
        allow: additional operations to accept.
        serve: for a SavedModel, the most rows that a server takes. A server always feeds all inputs of a signature, so
            nothing upstream of them runs. The verdict's last feed has as many of these rows as fit.

    Raises:
        ModelError: the model is refused; one line says why.
        OSError: a file cannot be read.
    """
    kind = model_file.kind_of(path)
    work = {model_file.FROZEN_GRAPH: _judge_graph, model_file.SAVED_MODEL: _judge_saved_model}
    return trial.run(path, work.get(kind, _judge_checkpoint), path, names, frozenset(allow), serve)


def read_checkpoint(path: str, names: tensors.Names, trust: bool) -> model_file.Model:
    """Finds the newest complete checkpoint in a folder or at a prefix, judges it unless it is trusted, and reads it.

    Raises:
        ModelError: there is no complete checkpoint, or it is refused.
        OSError: a file cannot be read.
    """
    prefix = model_file.newest_complete(path)
    if not trust:
        judge(prefix, names)
    meta_graph = model_file.read_meta_graph(prefix)
    return model_file.Model(model_file.CHECKPOINT, prefix, model_file.complete_names(names, meta_graph), meta_graph)


def admit(path: str, checked: str, allow: Collection[str] = ()) -> list[str]:
    """Judges a frozen graph or SavedModel, and adds the digests of its files to the list of checked models.

    Returns:
        The lines to print.

    Raises:
        ModelError: the model is refused, or changes while it is judged.
        OSError: a file cannot be read or written.
    """
    kind = model_file.require_graph(path)
    files = [(file, digests.digest(file)) for file in digests.files_of(path)]
    verdict = judge(path, allow=allow)
    if files != [(file, digests.digest(file)) for file in digests.files_of(path)]:
        raise ModelError(f"changed while it was checked: {path} (check it again)")
    digests.add(checked, files)
    what = f"accepted with {', '.join(allow)}" if allow else "pure calculation"
    its = "its digest is" if kind == model_file.FROZEN_GRAPH else f"the digests of its {len(files)} files are"
    return [*verdict.lines, f"{what}; {its} in {checked}"]


def describe(path: str) -> list[str]:
    """Describes a model without judging it. Raises ModelError if it does not parse, OSError if it cannot be read."""
    try:
        return trial.run(path, description.describe, path, seconds=SECONDS)
    except ModelError:  # a graph that TensorFlow cannot import still has names
        return trial.run(path, description.describe, path, False)


def _judge_graph(path: str, _: tensors.Names, allow: frozenset[str], serve: int) -> Verdict:
    graph_def = model_file.read_frozen_graph(path)
    _require_known(graph_def, path)
    feeds, inputs = check_graph(graph_def, allow)
    trial.stage("imported")
    with tf.Session(graph=tf.Graph(), config=session_config()) as session:
        with session.graph.as_default(), model_file.explaining(path):
            tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(session.graph)
        _calculate(session, list(ends.outputs.values()), feeds, inputs)
        return Verdict(description.describe(path, graph=session.graph), {"": feeds})


def check_graph(graph_def: Any, allow: frozenset[str] = frozenset()) -> tuple[list[Feed], dict[str, Placeholder]]:
    """Applies the rules to all of a frozen graph.

    Returns:
        The feeds to try, and the graph's inputs.

    Raises:
        ModelError: the graph is refused.
    """
    bodies, producer = read_bodies(graph_def), graph_def.versions.producer
    written = write_out(bodies, bodies[""].nodes)
    check_kinds(bodies, allow)
    inputs = placeholders_of(bodies[""], producer)
    return find_feeds(Sizes(producer, allow - CALCULATION), written._replace(sources={}), inputs), inputs


def check_kinds(bodies: Mapping[str, Body], allow: frozenset[str], advise: bool = True) -> None:
    """Checks the operations of a frozen graph and its functions. Raises ModelError that names all forbidden ones."""
    everywhere = (
        Step(node.proto, f"{node.name}{body.where}", []) for body in bodies.values() for node in body.nodes.values()
    )
    check_operations(everywhere, CALCULATION | allow, bodies, advise)


def _require_known(message: Any, path: str) -> None:
    """Raises ModelError if a model has undeclared fields: TensorFlow's parser may see more in them than Python's."""
    for meta_graph in getattr(message, "meta_graphs", ()):
        meta_graph.ClearField("object_graph_def")  # describes Python objects, which no session loads
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() < size:
        raise ModelError(
            f"refused graph: {path} has fields that TensorFlow {tf.__version__} does not know "
            "(python model_freeze.py leaves them out)"
        )


def _judge_saved_model(path: str, _: tensors.Names, allow: frozenset[str], serve: int) -> Verdict:
    digests.files_of(path)
    saved_model = model_file.read_saved_model(path)
    _require_known(saved_model, path)
    prefix = os.path.join(path, "variables", "variables")
    entries = variables_file.read_entries(prefix) if os.path.exists(f"{prefix}.index") else {}
    feeds: dict[str, list[Feed]] = {}
    for meta_graph in saved_model.meta_graphs:
        bodies = read_bodies(meta_graph.graph_def)
        sizes = check_start(meta_graph, bodies, entries, path, allow)
        parts = {}
        for key, signature in meta_graph.signature_def.items():
            if key in (INIT, TRAIN):
                continue
            inputs = {tensor_name(info.name): _of_signature(info) for info in signature.inputs.values() if info.name}
            outputs = [tensor_name(info.name) for info in signature.outputs.values() if info.name]
            producer = meta_graph.graph_def.versions.producer
            parts[key] = _check_part(bodies, sizes, outputs, inputs, allow, producer, serve)
            first = {name: each for name, each in inputs.items() if _op(bodies[""], name) == "Placeholder"}
            if len(first) < len(inputs) and not serve:
                _check_part(bodies, sizes, outputs, first, allow, producer)
        trial.stage("loaded")
        tags = list(meta_graph.meta_info_def.tags)
        with tf.Session(graph=tf.Graph(), config=session_config()) as session:
            with session.graph.as_default(), model_file.explaining(path):
                tf.saved_model.loader.load(session, tags, path, clear_devices=True)
            for outputs, found, inputs in parts.values():
                _calculate(session, outputs, found, inputs)
        for key, (_, found, _) in parts.items():  # if several tags have this signature: the fewer rows
            feeds[key] = min(feeds.get(key, found), found, key=most_rows)
    return Verdict(description.describe(path), feeds)


def _judge_checkpoint(prefix: str, names: tensors.Names, allow: frozenset[str], serve: int) -> Verdict:
    meta_graph = model_file.read_meta_graph(prefix)
    names = model_file.complete_names(names, meta_graph)
    bodies = read_bodies(meta_graph.graph_def)
    sizes = check_start(meta_graph, bodies, variables_file.read_entries(prefix), "", allow)
    inputs = placeholders_of(bodies[""], meta_graph.graph_def.versions.producer)
    nodes = bodies[""].nodes
    if names.input and operation_name(names.input) not in nodes:
        raise ModelError(tensors.no_input(names.input, map(operation_name, inputs)))
    if names.input and tensor_name(names.input) not in inputs:  # any tensor can be fed
        name, index = split(names.input)
        inputs[f"{name}:{index}"] = Placeholder(name, output_dtype(nodes[name].proto, index), None)
    outputs = list(map(tensor_name, names.outputs))
    for name in names.outputs:
        if operation_name(name) not in nodes:
            ends = [
                line.split()[1] for line in description.ends(meta_graph.graph_def.node) if line.startswith("output")
            ]
            raise ModelError(tensors.no_output(name, ends, nodes))
    outputs, feeds, inputs = _check_part(bodies, sizes, outputs, inputs, allow, meta_graph.graph_def.versions.producer)
    trial.stage("restored")
    with tf.Session(graph=tf.Graph(), config=session_config()) as session:
        with session.graph.as_default(), model_file.explaining(prefix):
            tf.train.import_meta_graph(meta_graph, clear_devices=True).restore(session, prefix)
            session.run(table_initializers(meta_graph))
        _calculate(session, outputs, feeds, inputs)
    return Verdict([], {"": feeds})


def _check_part(
    bodies: Mapping[str, Body],
    sizes: Sizes,
    outputs: list[str],
    inputs: dict[str, Placeholder],
    allow: frozenset[str],
    producer: int,
    serve: int = 0,
) -> tuple[list[str], list[Feed], dict[str, Placeholder]]:
    """Checks everything that leads to `outputs` when `inputs` are fed."""
    inputs = dict(inputs)
    with_default = [name for name in inputs if not serve and _op(bodies[""], name) == "PlaceholderWithDefault"]
    written = write_out(bodies, outputs, inputs.keys() - with_default)
    check_operations(written.steps, CALCULATION | VARIABLES | allow, bodies)
    reached = {step.tensor or f"{step.label}:0" for step in written.steps}
    for name, each in placeholders_of(bodies[""], producer).items():
        given = inputs.get(name, each)
        inputs[name] = each if given.shape is None else each._replace(shape=given.shape)
    inputs = {name: each for name, each in inputs.items() if name in reached}
    return outputs, find_feeds(sizes, written, inputs, serve), inputs


def _op(graph: Body, tensor: str) -> str:
    node = graph.nodes.get(operation_name(tensor))
    return node.proto.op if node else ""


def placeholders_of(graph: Body, producer: int) -> dict[str, Placeholder]:
    """The placeholders of a graph, by the names of their tensors."""
    return {
        f"{node.name}:0": placeholder_of_node(node.proto, producer)
        for node in graph.nodes.values()
        if node.proto.op in ("Placeholder", "PlaceholderV2")
    }


def placeholder_of_node(proto: Any, producer: int) -> Placeholder:
    """What can be fed to a placeholder. In an old graph, `[]` means any shape."""
    dims = None
    if "shape" in proto.attr and not proto.attr["shape"].shape.unknown_rank:
        dims = tuple(dim.size for dim in proto.attr["shape"].shape.dim)
    dims = None if not dims and producer < 22 else dims
    return Placeholder(proto.name, dtype_name(proto.attr["dtype"].type), dims)


def _of_signature(info: Any) -> Placeholder:
    unknown = info.tensor_shape.unknown_rank or not info.HasField("tensor_shape")
    dims = None if unknown else tuple(dim.size for dim in info.tensor_shape.dim)
    return Placeholder(operation_name(info.name), dtype_name(info.dtype), dims)


def check_start(
    meta_graph: Any,
    bodies: Mapping[str, Body],
    entries: Mapping[str, variables_file.Entry],
    folder: str,
    allow: frozenset[str],
) -> Sizes:
    """Checks what loading runs: it may restore only the model's own variables, and read only its own assets.

    Returns:
        The model's sizes, including the shapes of the restored variables.
    """
    allowed = CALCULATION | VARIABLES | START | allow
    saver, sizes = meta_graph.saver_def, Sizes(meta_graph.graph_def.versions.producer, allow - CALCULATION)
    if saver.restore_op_name:
        name, filename = operation_name(saver.filename_tensor_name), tensor_name(saver.filename_tensor_name)
        written = write_out(bodies, [saver.restore_op_name], [filename])
        check_operations(written.steps, allowed, bodies)
        _check_restoring(written.steps, filename, sizes, entries)
        find_feeds(sizes, written._replace(sources={}), {filename: Placeholder(name, "string", ())})
    roots = start_operations(meta_graph)
    if folder and roots:
        assets = find_assets(meta_graph, folder)
        written = write_out(bodies, roots, assets)
        check_operations(written.steps, allowed - {"RestoreV2", "Restore", "RestoreSlice"}, bodies)
        _check_reading(written.steps, assets, sizes)
        find_feeds(sizes, written._replace(sources={}), {name: Placeholder(name, "string", ()) for name in assets})
    return sizes


def table_initializers(meta_graph: Any) -> list[str]:
    """The names of the operations that fill a checkpoint's tables, without those that read more than constants."""
    names, found = model_file.collection(meta_graph, "table_initializer"), []
    if not names:  # as in most checkpoints: no need to read the graph again
        return found
    bodies, producer = read_bodies(meta_graph.graph_def), meta_graph.graph_def.versions.producer
    for name in names:
        with contextlib.suppress(ModelError):
            written = write_out(bodies, [name])
            check_operations(written.steps, CALCULATION | TABLES, bodies)
            find_feeds(Sizes(producer), written._replace(sources={}), {})
            found.append(operation_name(name))
    return found


def start_operations(meta_graph: Any) -> list[str]:
    """The names of the operations that a SavedModel's loader runs once."""
    roots = model_file.collection(meta_graph, "saved_model_main_op")
    roots += model_file.collection(meta_graph, "legacy_init_op")
    if INIT in meta_graph.signature_def:
        roots += [tensor.name for tensor in meta_graph.signature_def[INIT].outputs.values()]
    return roots


def find_assets(meta_graph: Any, folder: str) -> dict[str, str]:
    """The paths of the assets, by the tensors that the loader feeds. Raises ModelError if a path is not the model's."""
    files = list(meta_graph.asset_file_def)
    if "saved_model_assets" in meta_graph.collection_def:  # where TensorFlow 1.x's builder writes them
        for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
            asset = tf.MetaGraphDef().asset_file_def.add()
            if packed.Unpack(asset):
                files.append(asset)
    found = {}
    for asset in files:
        path = os.path.join(folder, "assets", asset.filename)
        if os.path.basename(asset.filename) != asset.filename or not os.path.isfile(path):
            raise ModelError(f"refused graph: its asset {asset.filename} is not a file of the model")
        found[tensor_name(asset.tensor_info.name)] = path
    return found


def _check_restoring(
    steps: Sequence[Step], filename: str, sizes: Sizes, entries: Mapping[str, variables_file.Entry]
) -> None:
    """Checks that only the file that the loader names is restored, and that variables have the shapes of its values."""
    for step in steps:
        op = step.proto.op if step.proto else ""
        if op in ("RestoreV2", "Restore", "RestoreSlice"):
            if {source.tensor for source, _ in follow(steps, step.inputs[0])} != {filename}:
                raise ModelError(f"refused graph: node {step.label} restores from a file that is not the model's")
            sizes.restored[step.label] = _restored(steps, step, entries)
        if op in ("Assign", "AssignVariableOp"):
            (variable, _), *_ = follow(steps, step.inputs[0])
            (value, index), *_ = follow(steps, step.inputs[1])
            if value.label in sizes.restored and variable.proto:
                declared = tf.TensorShape(variable.proto.attr["shape"].shape)
                for entry in sizes.restored[value.label][index : index + 1]:
                    if not declared.is_compatible_with(entry.shape):
                        raise ModelError(
                            f"refused graph: the variable {variable.label} is {declared}, "
                            f"its value in the checkpoint {tf.TensorShape(entry.shape)}"
                        )
                    sizes.variables[variable_key(variable)] = entry.shape
                    sizes.longest = max(sizes.longest, entry.size if entry.dtype == "string" else 0)


def _restored(
    steps: Sequence[Step], step: Step, entries: Mapping[str, variables_file.Entry]
) -> list[variables_file.Entry]:
    """The entries that a RestoreV2 reads. Raises ModelError if they are known only at run time."""
    texts = []
    for source in step.inputs[1:3]:
        constant = next((each for each, _ in follow(steps, source) if each.proto and each.proto.op == "Const"), None)
        if constant is None or constant.proto.attr["dtype"].type != tf.string.as_datatype_enum:
            raise ModelError(f"refused graph: node {step.label} restores what only running would tell")
        texts.append(
            [
                text.decode(errors="surrogateescape")
                for text in np.ravel(tf.make_ndarray(constant.proto.attr["value"].tensor))
            ]
        )
    found = []
    parts = texts[1] if len(texts) > 1 else [""] * len(texts[0])
    for name, part in zip(texts[0], parts, strict=False):
        if name not in entries:
            raise ModelError(
                f"not a usable checkpoint: Key {name} not found in checkpoint, which node {step.label} restores"
            )
        entry = entries[name]
        found.append(entry._replace(shape=_part_shape(part, name)) if part else entry)
    return found


def _part_shape(text: str, name: str) -> tuple[int, ...]:
    """The shape of part of a variable: `10 4 0,5:-`, which is rows 0 to 4 of `[10, 4]`, has the shape `[5, 4]`."""
    *full, parts = text.split(" ")
    found = [re.fullmatch(r"-|\d{1,18},(\d{1,18})", part) for part in parts.split(":")]
    if not all(found) or len(found) != len(full) or not all(size.isdecimal() for size in full):
        raise ModelError(f"refused graph: {text} is not a part of the variable {name}")
    return tuple(int(part[1] or size) for part, size in zip(found, full, strict=True))


def _check_reading(steps: Sequence[Step], assets: Mapping[str, str], sizes: Sizes) -> None:
    """Checks that each table is read from an asset, which the loader feeds, or from a variable that holds its name."""
    names: dict[str, set[str]] = {}
    for step in steps:
        if step.proto and step.proto.op == "AssignVariableOp":
            (variable, _), *_ = follow(steps, step.inputs[0])
            names.setdefault(variable.label, set()).update(value.tensor for value, _ in follow(steps, step.inputs[1]))
    for step in steps:
        if step.proto and step.proto.op.startswith("InitializeTableFromTextFile"):
            found = set()
            for source, _ in follow(steps, step.inputs[1]):
                if source.proto and source.proto.op == "ReadVariableOp":
                    for variable, _ in follow(steps, source.inputs[0]):
                        found |= names.get(variable.label, {""})
                else:
                    found.add(source.tensor)
            if not found or not found <= set(assets):
                raise ModelError(f"refused graph: node {step.label} reads a file that is not an asset of the model")
            for name in found:
                with open(assets[name], "rb") as lines:
                    sizes.longest = max(sizes.longest, *map(len, lines), 0)


def _calculate(session: Any, outputs: Iterable[str], feeds: Sequence[Feed], inputs: Mapping[str, Placeholder]) -> None:
    """Runs the outputs on each feed. Errors that TensorFlow reports are harmless, unless they are about memory."""
    for feed in feeds:
        if not feed.is_tried:
            continue
        trial.stage(f"calculated on {feed.rows} rows" if feed.rows > 1 else "calculated on one row")
        arrays = {}
        for name, shape in feed.shapes.items():
            dtype = session.graph.get_tensor_by_name(name).dtype.base_dtype.name
            if dtype not in TYPES:
                raise ModelError(f"refused graph: the input {name} is of type {dtype}, which cannot be fed")
            arrays[name] = np.full(
                shape, b"" if dtype == "string" else 0.5 if "float" in dtype else 0, numpy_type(dtype)
            )
        try:
            session.run([name for name in outputs], arrays)
        except tf.errors.ResourceExhaustedError as error:
            raise ModelError(f"refused graph: it takes more memory than there is: {error}") from None
        except (tf.errors.OpError, ValueError, TypeError):
            pass
