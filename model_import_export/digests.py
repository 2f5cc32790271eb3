"""Writes files whole or not at all, and keeps the list of checked models: the SHA-256 of each of their files.

`sha256sum -c` and every consumer read the list. A consumer asks only whether a file's digest is in it, so damaged,
foreign and unchecked files are refused alike.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_import_export import ModelError

CHECKED = "frozen_graphs/SHA256SUMS"
LINE = re.compile(rb"\\?([0-9a-f]{64}) [ *](.+)")
# How sha256sum escapes names that would break its lines; it marks such a line with a leading backslash.
ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


def write_whole(path: Path, data: str | bytes) -> None:
    """Writes a file under a temporary name in its folder, creating the folder if needed, then renames it.

    Raises:
        OSError: names `path` or its folder; the old file is unchanged.
        ValueError: something other than a regular file is there.
    """
    check_replaceable(path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # keeps the link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Raises ValueError if `path` is something that a rename would destroy: a folder, a device, a FIFO."""
    if path.exists() and not path.is_file():
        raise ValueError(f"not a regular file: {path} (it would be replaced; name another)")


def digest(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: str) -> list[str]:
    """A model's files: a frozen graph's own path, or all files in a SavedModel's folder, sorted.

    Raises:
        ValueError: a file is not regular (a link, a FIFO, a device), or a frozen graph is empty.
    """
    if not os.path.isdir(path):
        if os.stat(_regular(path, os.stat(path))).st_size == 0:
            raise ModelError(f"not a usable model file: {path} is empty")
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise ModelError(f"not a usable model file: {os.path.join(folder, name)} is not a regular file")
        found += [_regular(os.path.join(folder, name), os.lstat(os.path.join(folder, name))) for name in names]
    return sorted(found)


def _regular(path: str, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"not a usable model file: {path} is not a regular file")
    return path


def listed(checked: str) -> set[str]:
    """The digests in a list; none if it does not exist. Raises OSError, or ValueError if it is not a regular file."""
    if not os.path.exists(checked):
        return set()
    return {match[1].decode() for line in _lines(checked) if (match := LINE.fullmatch(line))}


def _lines(checked: str) -> list[bytes]:
    _regular(checked, os.stat(checked))
    with open(checked, "rb") as file:
        return file.read().split(b"\n")[:-1]


def require_checked(path: str, checked: str) -> None:
    """Raises ValueError if the digest of a model's file is not in the list, OSError if a file cannot be read."""
    known = listed(checked)
    if not all(digest(file) in known for file in files_of(path)):
        raise ModelError(f"not checked: {path} (python model_check.py {path} checks it; --trust takes it as it is)")


def add(checked: str, digests: Iterable[tuple[str, str]]) -> None:
    """Adds files' digests to a list, replacing their old ones; the entries of other files are kept.

    Args:
        checked: the list. Its folder is created if missing; names in the list are relative to that folder.
        digests: paths, and their digests as returned by `digest`.

    Raises:
        OSError, ValueError: the list cannot be written and is unchanged.
    """
    path = Path(checked)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.path.realpath(path.parent)
    with _alone_in(folder):
        lines = _lines(checked) if path.exists() else []
        for file, hexadecimal in digests:
            real = os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
            name = b"".join(ESCAPES.get(bytes([c]), bytes([c])) for c in os.fsencode(os.path.relpath(real, folder)))
            mark = b"\\" if b"\\" in name else b""
            lines = [line for line in lines if line.removeprefix(b"\\")[66:] != name]
            lines.append(mark + hexadecimal.encode() + b"  " + name)
        write_whole(path, b"".join(line + b"\n" for line in lines))


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Waits until no other process is writing the list in a folder, and locks it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
