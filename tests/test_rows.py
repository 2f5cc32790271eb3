"""Values in, values out: what holds for any value, in addition to the cases for every language (test_cases.py)."""

import io
import math
import os
import struct
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from model_import_export import rows
from model_import_export.rows import Placeholder

import numpy as np
import pytest

LINE = Placeholder("x", "float64", (-1, -1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_numbers_out_are_the_shortest_that_read_back(dtype: type) -> None:
    kind = np.dtype(dtype)
    random = np.random.default_rng(5)
    bits = random.integers(0, 2 ** (8 * kind.itemsize), 20_000, f"u{kind.itemsize}", endpoint=False)
    scales = (10.0 ** random.uniform(-8, min(24, math.log10(np.finfo(kind).max)), 20_000)).astype(kind)
    numbers = np.concatenate([bits.view(kind), scales])
    numbers = numbers[np.isfinite(numbers)]
    for number, text in zip(numbers, rows.format_values(numbers), strict=True):
        assert kind.type(text) == number
        mantissa, _, exponent = text.partition("e")
        digits = mantissa.lstrip("-").replace(".", "").strip("0")
        if exponent:
            assert int(exponent) < -4 or int(exponent) >= 21
        elif number:
            assert 9e-5 < abs(float(text)) < 1e21
        if len(digits) > 1:  # no text with one digit fewer reads back to the number
            for rounding in (math.floor, math.ceil):
                scale = Fraction(text.lstrip("-")) / int(digits)
                shorter = rounding(Fraction(int(digits), 10)) * 10 * scale
                with np.errstate(over="ignore"):
                    assert kind.type(float(shorter)) != abs(number)


def test_all_bfloat16_read_back() -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16).view(rows.numpy_type("bfloat16"))
    numbers = numbers[np.isfinite(numbers.astype(np.float32))]
    texts = rows.format_values(numbers)
    assert np.array_equal(rows.round_numbers(texts, "bfloat16").view(np.uint16), numbers.view(np.uint16))
    assert max(len(text.partition("e")[0].replace("-", "").replace(".", "").strip("0")) for text in texts) == 4


def test_float32_is_rounded_once() -> None:
    """Compared with exact fractions: midway between two float32s, and slightly to each side, normal and subnormal."""
    random = np.random.default_rng(7)
    for bits in [*random.integers(0, 0x7F7FFFFF, 300), 0, 1, 2, 0x7FFFFF, 0x800000, 0x7F7FFFFE, 0x7F7FFFFF]:
        low, high = (
            Fraction(struct.unpack("f", struct.pack("I", bits + i))[0]) if bits + i < 0x7F800000 else None
            for i in (0, 1)
        )
        middle = (low + (2**128 if high is None else high)) / 2
        digits = _decimal(middle)
        even = bits if bits % 2 == 0 else bits + 1
        for text, expected in (
            (digits, even),
            (digits + "1", bits + 1),
            (_decimal(middle - Fraction(1, 10**200)), bits),
        ):
            if expected == 0x7F800000:
                with pytest.raises(ValueError, match="out of range"):
                    rows.parse_values(text, "float32", "")
            else:
                assert rows.parse_values(text, "float32", "").view(np.uint32)[0] == expected, text


def _decimal(number: Fraction) -> str:
    """All digits of a fraction whose denominator divides a power of ten."""
    places = 0
    while (number * 10**places).denominator != 1:
        places += 1
    places += 1
    digits = str((number * 10**places).numerator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def stream(parts: Iterable[bytes], batch: int) -> tuple[str, list[int]]:
    """Streams input in these parts through a model that doubles. Returns its output, and the sizes of its runs."""
    reader, writer = os.pipe()
    output, runs = io.StringIO(), []

    def write() -> None:
        with open(writer, "wb", buffering=0) as file:
            for part in parts:
                try:
                    file.write(part)
                except BrokenPipeError:
                    return

    def double(values: np.ndarray) -> np.ndarray:
        runs.append(len(values))
        return 2 * values

    threading.Thread(target=write).start()
    try:
        rows.stream(reader, output, double, LINE, batch)
    except ValueError as error:
        output.write(f"! {error}")
    finally:
        os.close(reader)
    return output.getvalue(), runs


@pytest.mark.parametrize("batch", [1, 7, 4096])
def test_batches_are_counted_however_rows_arrive(batch: int) -> None:
    text = "".join(f"{i}\n" for i in range(10_000)).encode()
    expected = "".join(f"{2 * i}\n" for i in range(10_000)), [batch] * (10_000 // batch) + [10_000 % batch or batch]
    expected[1][10_000 // batch :] = [10_000 % batch] * (10_000 % batch > 0)
    for size in (len(text), 1000, 13 if batch > 1 else 4000):
        assert stream((text[i : i + size] for i in range(0, len(text), size)), batch) == expected


def test_stream_keeps_order_and_line_numbers() -> None:
    numbers = [str(i) for i in range(100_000)]
    numbers[77_776] = "x"
    out = stream(["\n".join(numbers).encode()], 4096)[0].splitlines()
    assert out[:77_776] == [str(2 * i) for i in range(77_776)]
    assert out[77_776:] == ["! not a number: x on line 77777"]


def test_stream_refuses_a_line_without_end() -> None:
    said = "! too long: line 2 has more than 16777216 bytes"
    assert stream([b"1\n" + b"1" * (rows.LONGEST_LINE + 5)], 4096)[0] == f"2\n{said}"


@pytest.mark.parametrize("text", [b"1\r\r\n", b"1\n\xff\n"])
def test_bytes_that_are_no_text(text: bytes) -> None:
    assert "! not a number: " in stream([text], 4096)[0]


def test_arrays_are_written_as_numpy_does(tmp_path: Path) -> None:
    for shape in ((), (0,), (2, 3), (1, 2, 3, 4)):
        array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        rows.save_array(str(tmp_path / "a.npy"), array)
        np.save(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    bfloat16 = rows.parse_values("1.5,-2", "bfloat16", "")
    rows.save_array(str(tmp_path / "c.npy"), bfloat16)
    read = rows.load_array(Placeholder("x", "bfloat16", (2,)), str(tmp_path / "c.npy"))
    assert read.tolist() == [1.5, -2]
