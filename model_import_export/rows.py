"""Reads values from the command line and from standard input, and writes results as text.

The grammar and the digits are the same in every language, so the outputs of two consumers can be compared byte for
byte. `tests/cases/` has both as data.
"""

import base64
import binascii
import contextlib
import decimal
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from model_import_export.digests import write_whole

import numpy as np
import orjson

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf)", re.IGNORECASE | re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
PLAIN = b"0123456789+-.eE,\n"  # text of only these has nothing that float() accepts beyond the grammar (`1_0`, ` 1`)
ODD = ("e", "0.0000", "null")  # marks what JSON may print differently
CHUNK = 1 << 18  # bytes to read at once, or results to format at once
LONGEST_LINE = 1 << 24  # bytes
DEFAULT = "0,1,-1,2"  # for --x
MAX_BATCH = 4_096  # numbers in one run
TYPES = "float64 float32 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string".split()
# For each float type: how many bits shorter its mantissa is than float64's, and its smallest number as a power of 1/2.
NARROWED = {"float32": (29, 149), "float16": (42, 24), "bfloat16": (45, 133)}


class Placeholder(NamedTuple):
    """A tensor to feed: a placeholder, or any other."""

    name: str
    dtype: str  # TensorFlow's name
    shape: tuple[int, ...] | None  # -1 for an open dimension; None if the rank is unknown


def numpy_type(dtype: str) -> np.dtype:
    """The numpy type for a TensorFlow type's name; object for `string`. Raises ValueError if it is not in TYPES."""
    if dtype not in TYPES:
        raise ValueError(f"not a type that can be fed or printed: {dtype} (these can: {', '.join(TYPES)})")
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16

        return np.dtype(bfloat16)
    return np.dtype(object if dtype == "string" else dtype)


def make_feed(placeholder: Placeholder, text: str | None, flag: str) -> np.ndarray | None:
    """The array for a placeholder: from comma-separated values, or from the file that `text` names (`NAME.npy`).

    Without a text, the default values; for --stdin, None, because its rows come later.

    Raises:
        ValueError: a value is not of the type, or the values do not fit the shape; the error names `flag`.
    """
    if flag == "--stdin":
        return None
    text = DEFAULT if text is None else text
    if text.endswith(".npy"):
        return load_array(placeholder, text)
    values = parse_values(text, placeholder.dtype, f" in {flag}")
    return values.reshape(feed_shape(placeholder, len(values)))


def load_array(placeholder: Placeholder, path: str) -> np.ndarray:
    """Reads an array from a `.npy` file. Raises ValueError if its type or shape is not the placeholder's."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise ValueError(f"not an array: {path} (numpy.save writes such files)") from None
    if placeholder.dtype == "bfloat16" and array.dtype == "V2":  # numpy does not know the name
        array = array.view(numpy_type("bfloat16"))
    given = array.dtype.newbyteorder("=")
    if given != numpy_type(placeholder.dtype) or placeholder.dtype == "string":
        raise ValueError(
            f"not the type of {placeholder.name}: {path} is {given.name}, the input takes {placeholder.dtype}"
        )
    dims = placeholder.shape
    if dims is not None and (
        len(dims) != array.ndim or any(d not in (-1, size) for d, size in zip(dims, array.shape, strict=True))
    ):
        raise ValueError(
            f"not the shape of {placeholder.name}: {path} is {show_shape(array.shape)}, "
            f"the input takes {show_shape(dims)}"
        )
    return np.ascontiguousarray(array, given).reshape(array.shape)


def save_array(path: str, array: np.ndarray) -> None:
    """Writes an array as a `.npy` file, whole or not at all. Raises ValueError for strings, or OSError."""
    if array.dtype == object:
        raise ValueError(f"not numbers: a .npy file cannot hold strings ({path})")
    data = io.BytesIO()
    # As two raw bytes per element: only Python would know the name bfloat16.
    np.save(data, array.view("V2") if array.dtype.name == "bfloat16" else array)
    write_whole(Path(path), data.getvalue())


def show_shape(dims: Sequence[int] | None) -> str:
    """A shape as printed: `[?, 10]`, or `?` if the rank is unknown."""
    return "?" if dims is None else f"[{', '.join('?' if dim < 0 else str(dim) for dim in dims)}]"


def parse_values(text: str, dtype: str, where: str) -> np.ndarray:
    """Reads comma-separated values.

    Args:
        text: such as `0,-1.5,1e-3,nan`, `true,false`, or strings (binary ones as base64 after `b64:`).
        dtype: one of TYPES; a number is rounded to it once, from its decimal digits.
        where: the place to name in an error: ` in --x`, ` on line 7`.

    Returns:
        An array of `dtype`, shape `[n]`, n at least 1.

    Raises:
        ValueError: a part is not a value of the type, or is out of its range.
    """
    parts, kind = text.split(","), numpy_type(dtype)
    place = where if " line " in where else ""
    if dtype == "string":
        return np.array([parse_string(part, where) for part in parts], object)
    if dtype == "bool":
        for part in parts:
            if part.lower() not in ("true", "false"):
                raise ValueError(f"not a bool: {part}{where} (true or false)")
        return np.array([part.lower() == "true" for part in parts])
    for part in parts:
        if not NUMBER.fullmatch(part):
            raise ValueError(f"not a number: {part}{where}")
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        for part in parts:
            if not INTEGER.fullmatch(part):
                raise ValueError(f"not a whole number: {part}{where} (the input takes {dtype})")
            if not limits.min <= decimal.Decimal(part) <= limits.max:
                raise ValueError(f"out of range for {dtype}: {part}{place}")
        return np.array(list(map(int, parts)), kind)
    numbers = round_numbers(parts, dtype)
    for i in np.flatnonzero(np.isinf(numbers)):
        if "f" not in parts[i].lower():
            raise ValueError(f"out of range for {dtype}: {parts[i]}{place}")
    return numbers


def parse_string(part: str, where: str) -> bytes:
    """The bytes of a string: its UTF-8, or the decoded base64 after `b64:`. Raises ValueError."""
    if not part.startswith("b64:"):
        return os.fsencode(part)
    try:
        return base64.b64decode(part[4:], validate=True)
    except binascii.Error:
        raise ValueError(f"not base64: {part}{where}") from None


def round_numbers(parts: Sequence[str], dtype: str) -> np.ndarray:
    """Rounds decimal digits to the nearest numbers of a float type, which are infinite beyond its range.

    A narrower type is rounded twice, by way of float64. That is wrong only if the float64 is midway between two of its
    numbers and the digits are not; then the digits decide.
    """
    wide = _parse_floats(parts)
    if dtype == "float64":
        return wide
    bits, smallest = NARROWED[dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        midway = wide.view(np.uint64) & (1 << bits) - 1 == 1 << bits - 1
        midway |= np.abs(wide) * 2.0**smallest % 1 == 0.5  # among the subnormals
        for i in np.flatnonzero(midway):
            digits, middle = decimal.Decimal(parts[i]), decimal.Decimal(float(wide[i]))
            if digits != middle:
                wide[i] = np.nextafter(wide[i], np.inf if digits > middle else -np.inf)
        if dtype == "bfloat16":  # numpy would round by way of float32
            unit = np.maximum(np.frexp(wide)[1] - (53 - bits), -smallest)
            wide = np.ldexp(np.rint(np.ldexp(wide, -unit)), unit)
        return wide.astype(numpy_type(dtype))


def _parse_floats(parts: Sequence[str]) -> np.ndarray:
    """Applies `float` to each part, which may raise ValueError; ten times as fast if all are JSON numbers too."""
    text = ",".join(parts)
    if "-0," not in f"{text},":  # JSON would read an integer, which has no -0
        with contextlib.suppress(orjson.JSONDecodeError):
            numbers = orjson.loads(f"[{text}]")
            if len(numbers) == len(parts):
                return np.array(numbers, np.float64)
    return np.array(list(map(float, parts)))


def feed_shape(placeholder: Placeholder, count: int) -> list[int]:
    """The shape in which `count` values fill a placeholder; the open dimension takes the rest.

    `[?, ?]` takes `[1, n]`, `[?, 10]` takes `[n / 10, 10]`, `[?]` takes `[n]`, `[]` takes one; an unknown rank takes
    one value as `[]` and more as `[n]`.

    Raises:
        ValueError: the values do not fit, or several dimensions are open and the values could fit in several ways.
    """
    dims = placeholder.shape
    if dims is None:
        return [count] if count > 1 else []
    if list(dims) == [-1, -1]:
        return [1, count]
    row = row_size(placeholder)
    if row == 0 or count % row or (-1 not in dims and count != row):
        takes = f"a multiple of {row}" if -1 in dims else f"{row}"
        raise ValueError(f"wrong number of values: {count} given, the placeholder {placeholder.name} takes {takes}")
    return [count // row if dim < 0 else dim for dim in dims]


def row_size(placeholder: Placeholder) -> int:
    """How many values fill a placeholder whose open dimension is 1. Raises ValueError if several are open."""
    dims = placeholder.shape or ()
    if sum(dim < 0 for dim in dims) > 1 and len(dims) > 2:
        raise ValueError(
            f"ambiguous shape: the placeholder {placeholder.name} is {show_shape(dims)} "
            "(give --x FILE.npy, which says its shape)"
        )
    return math.prod(dim for dim in dims if dim >= 0)


def format_values(array: np.ndarray) -> list[str]:
    """Formats each element with the shortest digits that read back to the same value of the array's own type.

    An exponent appears only if it is below -4 or at least 21 (`-4.5`, `1499994026270459.2`, `1e-05`, `1e+21`). Special
    values are `-0`, `NaN`, `+Inf`, `-Inf`, `true` and `false`. Strings are JSON; bytes that are not UTF-8 are base64
    after `b64:`.
    """
    flat = array.ravel()
    if array.dtype == object:
        return [json.dumps(_text(value), ensure_ascii=False) for value in flat]
    if array.dtype.name == "bfloat16":
        return [_format_number(_shortest(number), number) for number in flat]
    if array.dtype not in (np.float64, np.float32) or not flat.size:
        return list(map(_format_number, map(str, flat), flat))
    joined = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1]
    texts = f"{joined},".replace(".0,", ",").split(",")[:-1]
    if any(odd in joined for odd in ODD):
        for i, text in enumerate(texts):
            if any(odd in text for odd in ODD):
                texts[i] = _format_number(str(flat[i]), flat[i])
    return texts


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"b64:{base64.b64encode(value).decode()}"


def _shortest(number: Any) -> str:
    """A bfloat16's shortest digits, rounded to nearest, or rounded up if only those read back."""
    wide = float(number)
    if not math.isfinite(wide) or wide == 0:
        return repr(wide)
    exact = decimal.Decimal(wide)
    for digits in range(1, 9):
        for rounding in (decimal.ROUND_HALF_EVEN, decimal.ROUND_UP):
            text = f"{decimal.Context(digits, rounding).create_decimal(exact):e}"
            if round_numbers([text], "bfloat16")[0] == number:
                return repr(float(text))
    raise AssertionError(number)


def _format_number(text: str, number: np.generic) -> str:
    """Adjusts `text`, the shortest digits: no `.0` after a whole number, and an exponent only where one is wanted."""
    words = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf", "True": "true", "False": "false"}
    if text in words:
        return words[text]
    if "e" in text and -5 < int(text.partition("e")[2]) < 21:
        shown = float(text) if number.dtype.name == "bfloat16" else number
        return np.format_float_positional(shown, trim="-")
    return text.removesuffix(".0")


def write_results(output: TextIO, results: Sequence[np.ndarray], names: Sequence[str] = ("",)) -> None:
    """Writes the results of `--x`, flattened, one line per output, in parts: the text takes ten times their memory.

    Args:
        names: the names of the outputs, which are printed if there are several.
    """
    for name, result in zip(names, results, strict=True):
        flat = result.ravel()
        parts = (" ".join(format_values(flat[i : i + CHUNK])) for i in range(0, len(flat), CHUNK))
        output.write(f"The calculation results{f' of {name}' if len(names) > 1 else ''} : [")
        for i, part in enumerate(parts):
            output.write(f" {part}" if i else part)
        output.write("]\n")


def batch_rows(placeholder: Placeholder, result: Sequence[int] | None, asked: int | None, terminal: bool) -> int:
    """How many rows of `--stdin` go into one run: `asked`, otherwise one on a terminal, otherwise 4,096 numbers' worth.

    Args:
        result: the output's static shape, in the form of `Placeholder.shape`.

    Raises:
        ValueError: the model cannot take, or cannot return, that many rows at a time.
    """
    row, dims = row_size(placeholder), placeholder.shape
    if row == 0:
        raise ValueError(f"wrong number of values: a row of the placeholder {placeholder.name} has none")
    if dims is not None and dims[:1] != (-1,):
        if (asked or 1) > 1:
            raise ValueError(
                f"too many rows in a run: the placeholder {placeholder.name} is {show_shape(dims)} (--batch 1 fits)"
            )
        return 1
    batch = asked or (1 if terminal else max(1, MAX_BATCH // row))
    if batch > 1 and result is not None and tuple(result[:1]) != (-1,):
        raise ValueError(_not_per_row(result))
    return batch


def _not_per_row(shape: Sequence[int]) -> str:
    return f"not one result per row: the output is {show_shape(shape)} (--batch 1 runs each row by itself)"


def stream(
    descriptor: int,
    output: TextIO,
    run: Callable[[np.ndarray], np.ndarray],
    placeholder: Placeholder,
    batch: int,
) -> None:
    """Reads one row per line until the input ends, and writes one line of results per row.

    Each run but the last gets exactly `batch` rows, so the same rows give the same bytes however they arrive.

    Args:
        descriptor: the file descriptor to read.
        output: takes the result lines, and is flushed after each read.
        run: takes an array for n rows, of the placeholder's type and shape, and returns results of shape `[n, ...]`.
        placeholder: the tensor that each row fills.
        batch: rows in one call of `run`.

    Raises:
        ValueError: a line is not a row; the results of the rows before it have been written.
    """
    dims = placeholder.shape
    shape = [1] if dims is None else [abs(dim) for dim in dims]
    pending: list[str] = []
    number, plain, too_long = 1, True, False

    def answer(lines: list[str]) -> None:
        nonlocal number
        values, error = _parse_rows(lines, placeholder, number, plain)
        if n := len(values):
            try:
                results = run(values.reshape([n, *shape[1:]] if batch > 1 else shape))
            except ValueError:
                output.flush()
                raise
            if batch > 1 and results.shape[:1] != (n,):
                raise ValueError(_not_per_row(results.shape))
            texts, width = format_values(results), results.size // n
            if width != 1:
                texts = [",".join(texts[i * width : (i + 1) * width]) for i in range(n)]
            output.write("\n".join(texts) + "\n")
        if error:
            output.flush()
            raise error
        number += len(lines)

    for block in _read_blocks(descriptor):
        text = os.fsdecode(block)
        plain = not block.translate(None, PLAIN) and (plain or not pending)
        lines = text.split("\n") if plain else [line.removesuffix("\r") for line in text.split("\n")]
        too_long = len(block) - block.rfind(b"\n") - 1 > LONGEST_LINE
        if text.endswith("\n") or too_long:
            lines.pop()
        pending += lines
        whole = len(pending) // batch * batch
        for i in range(0, whole, batch):
            answer(pending[i : i + batch])
        pending = pending[whole:]
        output.flush()
    answer(pending)
    if too_long:
        output.flush()
        raise ValueError(f"too long: line {number} has more than {LONGEST_LINE} bytes")


def _read_blocks(descriptor: int) -> Iterator[bytes]:
    """Yields whole lines, as many as each read brings. The last may lack its newline; one that is too long is cut."""
    rest = bytearray()
    while len(rest) <= LONGEST_LINE and (chunk := os.read(descriptor, CHUNK)):
        rest += chunk
        end = rest.rfind(b"\n", len(rest) - len(chunk)) + 1
        if end:
            yield bytes(rest[:end])
            del rest[:end]
    if rest:
        yield bytes(rest)


def _parse_rows(
    lines: list[str], placeholder: Placeholder, number: int, plain: bool
) -> tuple[np.ndarray, ValueError | None]:
    """The rows of `lines` up to the first invalid one, shape `[n, row]`, and the error for that one."""
    dtype, row = placeholder.dtype, row_size(placeholder)
    floats = dtype in ("float64", *NARROWED)
    if lines and plain and floats and (row == 1 or all(line.count(",") == row - 1 for line in lines)):
        try:
            values = round_numbers(lines if row == 1 else ",".join(lines).split(","), dtype)
        except ValueError:
            pass
        else:
            if np.isfinite(values).all():
                return values.reshape(-1, row), None
    rows: list[np.ndarray] = []
    error = None
    for line_number, line in enumerate(lines, number):
        try:
            if not line and dtype == "string":
                raise ValueError(f"blank: line {line_number} (b64: is the empty string)")
            values = parse_values(line, dtype, f" on line {line_number}")
            if len(values) != row:
                raise ValueError(
                    f"wrong number of values: {len(values)} given on line {line_number}, "
                    f"the placeholder {placeholder.name} takes {row}"
                )
        except ValueError as wrong:
            error = wrong
            break
        rows.append(values)
    return np.array(rows, numpy_type(dtype)), error
