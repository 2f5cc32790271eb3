"""Reads and writes a file's rows: the only reader and the only writer, on one machine and on a cluster."""

import codecs
import contextlib
import csv
import io
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

BATCH = 1 << 17  # rows of Parquet at once; fewer if they are wide
BATCH_BYTES = 1 << 26
BLOCK = 8 << 20  # bytes of CSV at once
BUFFER = 1 << 20  # bytes of a column to read at once, not a row group's whole column
COMPRESSION = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}
PARTIAL = re.compile(r"\.[^/]*\.(?P<host>[^/]+)-(?P<process>\d+)-(?P<run>[0-9a-f]{8})[0-9a-f]{8}\.partial")


class Text(NamedTuple):
    """How CSV files are written."""

    delimiter: str | None = None  # None: a tab in .tsv, otherwise a comma
    encoding: str = "utf-8"


class Rows(NamedTuple):
    """A file being read."""

    schema: pa.Schema
    count: int | None  # None if only reading tells
    batches: Iterator[pa.RecordBatch]


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Adds the file's name to errors from pyarrow or a codec."""
    try:
        yield
    except (pa.ArrowException, UnicodeError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        if isinstance(error, UnicodeError) or "UTF8" in str(error):
            raise ValueError(f"not text in this encoding: {path} (--encoding names another, such as utf-16)") from None
        raise ValueError(f"cannot read: {path}: {error}") from None


def open_parquet(system: Any, path: str) -> pq.ParquetFile:
    """Opens a Parquet file. Raises ValueError if it is not one, or OSError.

    Page checksums are verified if there are any. Reading ahead (`pre_buffer`) would let memory grow. Spark's old
    timestamps (INT96) are read as microseconds, as Spark means them: in nanoseconds the year 9999 is out of range.
    """
    with named(path):
        return pq.ParquetFile(
            path,
            filesystem=system,
            buffer_size=BUFFER,
            pre_buffer=False,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )


def read_parquet(system: Any, path: str, groups: range | None) -> Rows:
    """The rows of a Parquet file, or of a run of its row groups."""
    file = open_parquet(system, path)
    metadata = file.metadata
    chosen = list(groups if groups is not None else range(metadata.num_row_groups))
    taken = [metadata.row_group(i) for i in chosen]
    count = sum(group.num_rows for group in taken)
    width = sum(group.total_byte_size for group in taken) // count + 1 if count else 1
    batch = max(1, min(BATCH, BATCH_BYTES // width))
    return Rows(file.schema_arrow, count, _named_all(path, file.iter_batches(batch, chosen, use_threads=False)))


def read_csv(system: Any, path: str, text: Text) -> Rows:
    """The rows of a CSV file. Columns are text, because CSV has no types. An empty cell is null.

    Raises:
        ValueError: it is not CSV, or not in this encoding.
    """
    name = path.lower()
    compression = COMPRESSION.get(name.rpartition(".")[2])
    delimiter = text.delimiter or ("\t" if ".tsv" in os.path.basename(name) else ",")
    encoding = "utf-8-sig" if codecs.lookup(text.encoding).name == "utf-8" else text.encoding
    with named(path):
        with io.TextIOWrapper(
            system.open_input_stream(path, compression=compression), encoding, errors="replace", newline=""
        ) as file:
            lines = csv.reader(file, delimiter=delimiter)
            names = next(lines, None)
            empty = next(lines, None) is None
        if names is None:
            raise ValueError(f"empty: {path} (the first line of CSV names the columns)")
        if any("\0" in name or "\ufffd" in name for name in names):
            raise UnicodeError
        schema = pa.schema([(name, pa.string()) for name in names])
        if empty:  # pyarrow rejects a lone header line without a newline
            return Rows(schema, 0, iter(()))
        reader = pyarrow.csv.open_csv(
            system.open_input_stream(path, compression=compression),
            pyarrow.csv.ReadOptions(block_size=BLOCK, encoding=text.encoding, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
            ),
        )
    return Rows(reader.schema, None, _named_all(path, reader))


def _named_all(path: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with named(path):
        yield from batches


def ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields the same batches, while a thread prepares the next one."""
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = thread.submit(next, batches, None)
            yield batch


def write_parquet(
    system: Any,
    path: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    progress: Callable[[pa.RecordBatch], Any],
    run: str,
) -> int:
    """Writes a Parquet file under a unique temporary name, and renames it when all is written.

    Floating-point columns get no dictionary: their values rarely repeat, and looking for repeats takes longer than
    all the rest.

    Args:
        progress: called with each batch.
        run: the 8 hexadecimal digits that this run's temporary names share.

    Returns:
        The number of rows.
    """
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name[:40]}.{socket.gethostname()}-{os.getpid()}-{run}{uuid.uuid4().hex[:8]}.partial"
    system.create_dir(folder, recursive=True)
    others = [field.name for field in schema if not pa.types.is_floating(field.type)]
    count = 0
    try:
        with pq.ParquetWriter(
            temporary, schema, filesystem=system, use_dictionary=others, write_page_checksum=True
        ) as writer:
            for batch in batches:
                writer.write_batch(batch)
                count += len(batch)
                progress(batch)
        if isinstance(system, fs.LocalFileSystem):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        system.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            system.delete_file(temporary)
        raise
    return count


def is_left_over(path: str, run: str) -> bool:
    """Whether a temporary file was left by this run, which has ended, or by a killed process on this machine."""
    found = PARTIAL.fullmatch(os.path.basename(path))
    if not found or found["run"] == run:
        return found is not None
    if found["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
