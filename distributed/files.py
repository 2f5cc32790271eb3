"""Finds the files to score, and makes tasks of them: one per file, or one per run of row groups of a large file."""

import functools
import hashlib
import json
import os
import re
import textwrap
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import model_import_export

import pyarrow as pa
from pyarrow import fs

HERE = os.path.dirname(os.path.abspath(__file__))
KIND = re.compile(r"\.(?:(parquet|pq)|(?:csv|tsv)(?:\.(?:gz|bz2|zst|lz4))?)$", re.IGNORECASE)
WILDCARD = re.compile(r"[*?\[]")
# The parts of a pattern; `*` stays within a folder, `**` also matches below it.
PATTERN = re.compile(r"(?P<deep>\*\*/?)|(?P<any>\*)|(?P<one>\?)|(?P<set>\[[^\]/]+\])")
PART = 128 << 20  # bytes of a Parquet file per task, roughly
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.parquet$")
KEY = b"model_import_export.scored"  # in an output's metadata: its input file, model and flags


class File(NamedTuple):
    """A file on any file system."""

    path: str
    size: int
    modified: int  # nanoseconds since 1970


class Task(NamedTuple):
    """What is scored at once, into its own file."""

    path: str
    output: str
    size: int  # bytes of the file, or of its part
    mark: dict[bytes, bytes]  # for the output's metadata
    groups: range | None = None  # row groups; None: all
    first_row: int = 0  # rows of the file before this task
    spare: bool = False  # whether other cores are idle


def is_parquet(path: str) -> bool:
    """Whether a file to score is Parquet; otherwise it is CSV."""
    return KIND.search(path)[1] is not None


@functools.cache
def locate(uri: str) -> tuple[Any, str]:
    """The pyarrow file system and path for a URI (`s3://...`) or a path on this machine. Raises ValueError."""
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        hint = (
            "hdfs:// takes JAVA_HOME and HADOOP_HOME" if uri.startswith("hdfs:") else "s3://, gs://, abfs://, hdfs://"
        )
        raise ValueError(f"no such file system: {uri}: {textwrap.shorten(str(error), 200)} ({hint})") from None
    return system, path.rstrip("/")


def is_local(system: Any) -> bool:
    """Whether a file system is this machine's own."""
    return isinstance(system, fs.LocalFileSystem)


def find(system: Any, path: str) -> tuple[str, list[File]]:
    """Finds the files below a folder, those that match a pattern, or the one with that name; there may be none.

    Returns:
        The folder that output names are relative to, and the files, sorted; each once, whatever links lead to it.
    """
    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        return os.path.dirname(path), [_file(info)]
    wildcard = WILDCARD.search(path) if info.type == fs.FileType.NotFound else None
    if not wildcard:
        return path, sorted(_below(system, path))
    base = os.path.dirname(path[: wildcard.start()])
    fits = re.compile(_as_regex(path) + "(?:/.*)?", re.DOTALL)
    return base, sorted(file for file in _below(system, base) if fits.fullmatch(file.path))


def _as_regex(pattern: str) -> str:
    words = {"deep": "(?:.*/)?", "any": "[^/]*", "one": "[^/]"}
    regex, position = "", 0
    for found in PATTERN.finditer(pattern):
        part = found["set"].replace("[!", "[^") if found["set"] else words[found.lastgroup]
        regex += re.escape(pattern[position : found.start()]) + part
        position = found.end()
    return regex + re.escape(pattern[position:])


def _file(info: Any) -> File:
    return File(info.path, info.size, info.mtime_ns or 0)


def _below(system: Any, folder: str) -> Iterator[File]:
    if is_local(system):
        for path in _walk(folder):
            status = os.stat(path)
            yield File(path, status.st_size, status.st_mtime_ns)
        return
    infos = system.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
    yield from (_file(info) for info in infos if info.type == fs.FileType.File)


def _walk(folder: str) -> Iterator[str]:
    """Yields the regular files below a local folder. Links are followed last, and nothing is visited twice."""
    seen: set[str] = set()
    links = [folder]
    for start in links:
        real = os.path.realpath(start)
        if real not in seen and os.path.isfile(real):
            seen.add(real)
            yield start
        for parent, folders, names in os.walk(start) if real not in seen else ():
            here = os.path.realpath(parent)
            seen.add(here)
            links += [path for name in folders + names if os.path.islink(path := os.path.join(parent, name))]
            folders[:] = [name for name in folders if os.path.join(here, name) not in seen]
            for name in names:
                path, place = os.path.join(parent, name), os.path.join(here, name)
                if os.path.isfile(path) and not os.path.islink(path) and place not in seen:
                    seen.add(place)
                    yield path


def is_hidden(name: str) -> bool:
    """Whether a name is one that Spark and Hive use for their own records: `_SUCCESS`, `.part-0.crc`."""
    return any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in name.split("/"))


def pair(base: str, files: Iterable[File], target: str) -> tuple[dict[str, File], list[str]]:
    """Maps outputs to their inputs: the same names relative to the folder `base`, with the suffix `.parquet`.

    Returns:
        The pairs, and the paths of the files that are left out because they are of another kind.

    Raises:
        ValueError: two files have the same output.
    """
    pairs: dict[str, File] = {}
    others = []
    for file in files:
        name = os.path.relpath(file.path, base)
        if is_hidden(name):
            continue
        if not KIND.search(name):
            others.append(file.path)
            continue
        output = f"{target}/{KIND.sub('', name)}.parquet"
        if output in pairs:
            raise ValueError(f"two inputs of one output: {pairs[output].path} and {file.path} (rename one)")
        pairs[output] = file
    return pairs, others


def check_apart(systems: tuple[Any, Any], source: str, target: str, pairs: dict[str, File]) -> None:
    """Raises ValueError if an output would be an input, now or in a rerun."""

    def real(system: Any, path: str) -> str:
        return os.path.realpath(path) if is_local(system) else path

    if systems[0].type_name != systems[1].type_name:
        return
    inputs = {real(systems[0], file.path) for file in pairs.values()}
    folder = systems[0].get_file_info(source).type == fs.FileType.Directory
    inside = folder and f"{real(systems[1], target)}/".startswith(f"{real(systems[0], source)}/")
    fits = re.compile(_as_regex(source) + "(?:/.*)?", re.DOTALL) if WILDCARD.search(source) else None
    for output in pairs:
        if inside or real(systems[1], output) in inputs or (fits and not folder and fits.fullmatch(output)):
            raise ValueError(f"the output is in the input: {target} (a rerun would score it; give another --save)")


def split(metadata: Any, file: File, output: str, mark: dict[bytes, bytes]) -> list[Task]:
    """A Parquet file's tasks. A large file has several, each with its own output (`NAME-00000-of-00004.parquet`).

    They depend only on the file, so a rerun has the same ones.
    """
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    parts = round(file.size / PART)
    if parts < 2 or len(groups) < 2:
        return [Task(file.path, output, file.size, mark)]
    total, before, starts = sum(group.total_byte_size for group in groups), 0, {}
    for i, group in enumerate(groups):
        starts.setdefault(before * parts // total, i)
        before += group.total_byte_size
    bounds = [*starts.values(), len(groups)]
    count = len(starts)
    tasks, row = [], 0
    for part, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
        name = f"{output.removesuffix('.parquet')}-{part:05}-of-{count:05}.parquet"
        tasks.append(Task(file.path, name, file.size // count, mark, range(start, end), row))
        row += sum(group.num_rows for group in groups[start:end])
    return tasks


def before_split(output: str) -> str:
    """The output that the file would have if it were not split."""
    return SPLIT.sub(".parquet", output)


def mark_of(file: File, settings: Any) -> dict[bytes, bytes]:
    """The mark of an output: it was made from this version of the file with these settings."""
    text = json.dumps([file.size, file.modified, settings])
    return {KEY: hashlib.sha256(text.encode()).hexdigest().encode()}


def zip_code(folder: str) -> str:
    """Packs the code that a task needs into a zip file in a folder, which Python can import. Returns its path."""
    path = os.path.join(folder, "score.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for package, inside in ((model_import_export.__path__[0], "model_import_export/"), (HERE, "")):
            for name in sorted(os.listdir(package)):
                if name.endswith(".py"):
                    archive.write(os.path.join(package, name), inside + name)
    return path
