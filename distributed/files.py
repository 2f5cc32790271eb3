"""Files to score: which there are, the output file of each, and on one machine how their rows are read and written."""

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv, fs

ENDING = re.compile(r"\.(parquet|csv|csv\.gz)$")
WILDCARD = re.compile(r"[*?\[{]")
BATCH = 1 << 17  # rows of Parquet read at once
BLOCK = 8 << 20  # bytes of CSV


class File(NamedTuple):
    """A file, of whatever file system."""

    path: str
    modified: float  # seconds since 1970
    size: int = 0


def locate(uri: str) -> tuple[Any, str]:
    """pyarrow's file system and the path in it, of a URI (`s3://...`) or of a path of this machine."""
    if "://" in uri:
        return fs.FileSystem.from_uri(uri)
    return fs.LocalFileSystem(), os.path.abspath(uri)


def find(system: Any, path: str) -> list[File]:
    """The files of a folder and those below it, of a pattern, or the one of that name; none where there is none."""
    wildcard = WILDCARD.search(path)
    base = os.path.dirname(path[: wildcard.start()]) if wildcard else path
    named_so = system.get_file_info(path)
    if named_so.type == fs.FileType.File:
        return [File(path, _seconds(named_so), named_so.size)]
    infos = system.get_file_info(fs.FileSelector(base, allow_not_found=True, recursive=True))
    return [
        File(info.path, _seconds(info), info.size)
        for info in infos
        if info.type == fs.FileType.File and (not wildcard or PurePosixPath(info.path).match(path))
    ]


def _seconds(info: Any) -> float:
    return info.mtime.timestamp() if info.mtime else 0


def pair(files: Iterable[File], source: str, target: str) -> dict[str, File]:
    """From the output files to their inputs: the names below the input folder, with the ending `.parquet`.

    Args:
        source: the folder, pattern or file in which the files were found.
        target: the folder of the outputs.

    Raises:
        ValueError: there are none, two have one output, or the outputs would be among the inputs.
    """
    wildcard = WILDCARD.search(source)
    base = os.path.dirname(source[: wildcard.start()]) if wildcard else source
    pairs: dict[str, File] = {}
    for file in sorted(files):
        name = os.path.relpath(file.path, base) if file.path != base else os.path.basename(file.path)
        if not ENDING.search(name) or any(part[0] in "._" for part in name.split("/")):
            continue
        output = f"{target}/{ENDING.sub('', name)}.parquet"
        if output in pairs:
            raise ValueError(f"two inputs of one output: {pairs[output].path} and {file.path}")
        pairs[output] = file
    if not pairs:
        raise ValueError(f"no data: {source} (no .parquet, .csv or .csv.gz is there)")
    if f"{target}/".startswith(f"{base}/") and not wildcard:
        raise ValueError(f"the output lies in the input: {target} (a rerun would score it; give another --output)")
    return pairs


def undone(pairs: dict[str, File], outputs: Iterable[File], model: float) -> dict[str, File]:
    """The pairs whose output is not there, or older than its input or than the model."""
    there = {file.path: file.modified for file in outputs}
    return {output: file for output, file in pairs.items() if there.get(output, -1) < max(file.modified, model)}


def open_file(system: Any, file: File) -> tuple[pa.Schema, int, Iterator[pa.RecordBatch]]:
    """Opens a file. CSV has no types: its columns are text, null where nothing stands.

    Returns:
        The schema, the number of rows where the file says it, else 0, and the batches of rows.

    Raises:
        ValueError: it is not what its ending says.
    """
    with named(file.path):
        if file.path.endswith(".parquet"):
            # With what is read beforehand (`pre_buffer`), and with a dataset's own reading ahead, memory grows.
            parquet = pq.ParquetFile(file.path, filesystem=system, pre_buffer=False)
            return parquet.schema_arrow, parquet.metadata.num_rows, parquet.iter_batches(BATCH)
        names = _open_csv(system, file.path, {}).schema.names
        reader = _open_csv(system, file.path, dict.fromkeys(names, pa.string()))
        return reader.schema, 0, iter(reader)


def _open_csv(system: Any, path: str, types: dict[str, pa.DataType]) -> csv.CSVStreamingReader:
    return csv.open_csv(
        system.open_input_stream(path, compression="detect"),
        csv.ReadOptions(block_size=BLOCK),
        convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
    )


def read_ahead(
    file: File, rows: int, batches: Iterator[pa.RecordBatch], progress: Callable[[int], Any]
) -> Iterator[pa.RecordBatch]:
    """The batches, of which a thread reads the next. `progress` is told of bytes, the file's size all in all."""
    left = file.size
    with named(file.path), ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = thread.submit(next, batches, None)
            yield batch
            done = min(left, file.size * len(batch) // rows if rows else batch.nbytes)
            left -= done
            progress(done)
    progress(left)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Names the file in what pyarrow says is wrong with it."""
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(f"cannot read: {path}: {error}") from None


def write_parquet(system: Any, path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes a Parquet file under a temporary name, which it loses when all is written.

    A thread writes a batch while the next is made. Floating-point columns go without a dictionary: their values are
    seldom the same, and looking takes longer than all the rest.
    """
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name}.partial"
    system.create_dir(folder, recursive=True)
    others = [field.name for field in schema if not pa.types.is_floating(field.type)]
    try:
        with (
            pq.ParquetWriter(temporary, schema, filesystem=system, use_dictionary=others) as writer,
            ThreadPoolExecutor(1) as thread,
        ):
            pending: deque[Future[None]] = deque()
            for batch in batches:
                pending.append(thread.submit(writer.write_batch, batch))
                if len(pending) > 2:
                    pending.popleft().result()
            for write in pending:
                write.result()
        if isinstance(system, fs.LocalFileSystem):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        system.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            system.delete_file(temporary)
        raise
