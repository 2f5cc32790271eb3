"""Rows of numbers: read from text, written as text, streamed from standard input to standard output.

The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
another's byte for byte.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TextIO

import numpy as np

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf)", re.IGNORECASE | re.ASCII)
PLAIN = b"0123456789+-.eE,\n"  # text of these alone holds nothing that float() takes beyond the grammar (`1_0`, ` 1`)
CHUNK = 1 << 18  # bytes read at once, or results turned into text at once
LONGEST_LINE = 1 << 24  # bytes


def parse_numbers(text: str, dtype: np.dtype, where: str) -> np.ndarray:
    """Reads comma-separated numbers.

    Args:
        text: such as `0,-1.5,1e-3,nan`.
        dtype: float64 or float32; a number is rounded to it once, from its decimal digits.
        where: names the place in the error: ` in --x`, ` on line 7`.

    Returns:
        An array of `dtype`, shape `[n]`, n at least 1.

    Raises:
        ValueError: a part is not a number, or is out of the type's range.
    """
    parts = text.split(",")
    for part in parts:
        if not NUMBER.fullmatch(part):
            raise ValueError(f"not a number: {part}{where}")
    numbers = round_numbers(parts, dtype)
    for i in np.flatnonzero(np.isinf(numbers)):
        if "f" not in parts[i].lower():
            raise ValueError(f"out of range for {dtype}: {parts[i]}{where if ' line ' in where else ''}")
    return numbers


def round_numbers(parts: Sequence[str], dtype: np.dtype) -> np.ndarray:
    """The numbers of `dtype` nearest to the decimal digits; infinite beyond its range.

    By way of float64, a float32 is rounded twice. That is wrong only where the float64 lies midway between two
    float32s and the digits do not; there the digits decide.
    """
    wide = np.array(list(map(float, parts)))
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = wide.astype(dtype)
        # A float32's last bit is worth 2^29 of a float64's, or 2^-149 among the subnormals.
        midway = (wide.view(np.uint64) & 0x1FFFFFFF == 0x10000000) | (np.abs(wide) * 2.0**149 % 1 == 0.5)
        for i in np.flatnonzero(midway & (dtype == np.float32)):
            digits, middle = Decimal(parts[i]), Decimal(float(wide[i]))
            if digits != middle:
                numbers[i] = np.float32(np.nextafter(wide[i], np.inf if digits > middle else -np.inf))
    return numbers


def feed_shape(dims: Sequence[int] | None, count: int, name: str) -> list[int]:
    """The shape in which `count` numbers fit a placeholder; the last open dimension takes what is left.

    `[?, ?]` takes `[1, n]`, `[?, 10]` takes `[n / 10, 10]`, `[?]` takes `[n]`, `[]` takes one; an unknown rank takes
    one number as `[]` and more as `[n]`.

    Args:
        dims: the placeholder's static shape, -1 where a dimension is open; None where the rank is.
        name: the placeholder, for the error.

    Raises:
        ValueError: the numbers do not fit.
    """
    if dims is None:
        return [count] if count > 1 else []
    row = math.prod(dim for dim in dims if dim >= 0)
    if row == 0 or count % row or (-1 not in dims and count != row):
        takes = f"a multiple of {row}" if -1 in dims else f"{row}"
        raise ValueError(f"wrong number of values: {count} given, the placeholder {name} takes {takes}")
    last = max((i for i, dim in enumerate(dims) if dim < 0), default=None)
    return [count // row if i == last else max(1, dim) for i, dim in enumerate(dims)]


def row_shape(dims: Sequence[int] | None) -> list[int]:
    """The shape of one row of `--stdin`: `[1, 1]` for a placeholder of `[?, ?]`, `[1, 10]` for `[?, 10]`."""
    return [1] if dims is None else [abs(dim) for dim in dims]


def format_numbers(array: np.ndarray) -> list[str]:
    """The shortest digits that read back to the same value of the array's own type, a text an element.

    An exponent stands only where it is below -4 or at least 21 (`-4.5`, `1499994026270459.2`, `1e-05`, `1e+21`). The
    others are `-0`, `NaN`, `+Inf`, `-Inf`, `true` and `false`.
    """
    flat = array.ravel()
    if array.dtype != np.float64:
        return list(map(_format_number, map(str, flat), flat))
    texts = list(map(repr, flat.tolist()))
    joined = "\n".join([*texts, ""])
    if ".0\n" in joined or "e+" in joined or "n" in joined:
        texts = list(map(_format_number, texts, flat))
    return texts


def _format_number(text: str, number: np.generic) -> str:
    """`text` holds the shortest digits, but with a `.0` behind whole numbers, and an exponent at other sizes."""
    words = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf", "True": "true", "False": "false"}
    if text in words:
        return words[text]
    if "e" in text and -5 < int(text.partition("e")[2]) < 21:
        return np.format_float_positional(number, trim="-")
    return text.removesuffix(".0")


def write_results(output: TextIO, results: np.ndarray) -> None:
    """Writes the results of `--x`, flat, on one line; a part at a time, for the text takes ten times their memory."""
    flat = results.ravel()
    parts = (" ".join(format_numbers(flat[i : i + CHUNK])) for i in range(0, len(flat), CHUNK))
    output.write("The calculation results : [")
    for i, part in enumerate(parts):
        output.write(f" {part}" if i else part)
    output.write("]\n")


def stream(
    descriptor: int,
    output: TextIO,
    run: Callable[[np.ndarray], np.ndarray],
    dtype: np.dtype,
    name: str,
    row: int,
    batch: int,
) -> None:
    """Reads rows, a line each, until the input ends, and writes the results of each, a line each, as they come.

    Args:
        descriptor: the file descriptor to read; what it has is calculated before it is waited for again.
        output: takes the result lines, and is flushed as often as the input has nothing more to read.
        run: from an array of `dtype`, shape `[n, row]`, n at most `batch`, to its results, shape `[n, ...]`.
        dtype: float64 or float32.
        name: the placeholder, for errors.
        row: numbers in a line.
        batch: rows in one call of `run`.

    Raises:
        ValueError: a line is not a row of numbers; the results of those before it have been written.
    """
    number = 1
    for block in _read_blocks(descriptor):
        text = block.decode(errors="replace")
        plain = not block.translate(None, PLAIN)
        lines = text.split("\n") if plain else [line.removesuffix("\r") for line in text.split("\n")]
        if text.endswith("\n"):
            lines.pop()
        elif len(lines[-1]) > LONGEST_LINE:
            raise ValueError(f"too long: line {number} has more than {LONGEST_LINE} bytes")
        for i in range(0, len(lines), batch):
            part = lines[i : i + batch]
            values, error = _parse_rows(part, dtype, name, row, number, plain)
            if len(values):
                texts = format_numbers(results := run(values))
                width = results.size // len(values)
                if width != 1:
                    texts = [",".join(texts[j * width : (j + 1) * width]) for j in range(len(values))]
                output.write("\n".join(texts) + "\n")
            if error:
                output.flush()
                raise error
            number += len(part)
        output.flush()


def _read_blocks(descriptor: int) -> Iterator[bytes]:
    """Whole lines, as many as there are to read; the last may lack its end, and one that is too long is cut."""
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
    lines: list[str], dtype: np.dtype, name: str, row: int, number: int, plain: bool
) -> tuple[np.ndarray, ValueError | None]:
    """The rows of `lines` up to the first wrong one, shape `[n, row]`, and what is wrong with that one."""
    if plain and (row == 1 or all(line.count(",") == row - 1 for line in lines)):
        try:
            values = round_numbers(lines if row == 1 else ",".join(lines).split(","), dtype)
        except ValueError:
            pass
        else:
            if np.isfinite(values).all():
                return values.reshape(-1, row), None
    values: list[np.ndarray] = []
    for line_number, line in enumerate(lines, number):
        try:
            values.append(parse_numbers(line, dtype, f" on line {line_number}"))
            if len(values[-1]) != row:
                given = len(values.pop())
                raise ValueError(
                    f"wrong number of values: {given} given on line {line_number}, the placeholder {name} takes {row}"
                )
        except ValueError as error:
            return np.array(values, dtype).reshape(-1, row), error
    return np.array(values, dtype).reshape(-1, row), None
