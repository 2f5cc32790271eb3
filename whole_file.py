"""Writes a file whole or not at all: a reader sees the old one or the new one, also after a crash."""

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, data: str | bytes) -> None:
    """Writes a file under a temporary name in its folder, which is made where it is missing, and renames it.

    Raises:
        OSError: it names `path` or its folder; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
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


def write_with_digest(path: Path, data: bytes) -> None:
    """Writes a file, then its SHA-256 digest into the `SHA256SUMS` beside it; the entries of other files stay."""
    write_whole(path, data)
    sums = path.with_name("SHA256SUMS")
    others = [line for line in sums.read_text().splitlines() if line[66:] != path.name] if sums.exists() else []
    write_whole(sums, "".join(f"{line}\n" for line in [*others, f"{hashlib.sha256(data).hexdigest()}  {path.name}"]))
