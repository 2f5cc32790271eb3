"""Numbers in, numbers out: the grammar and the digits that all languages share."""

import contextlib
import io
import math
import os
import struct
import threading
from fractions import Fraction

import numpy as np
import pytest

from model_import_export import rows

FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (-4.5, "-4.5"),
        (1499991.0256537136, "1499991.0256537136"),
        (1499994026270459.2, "1499994026270459.2"),
        (1e16, "10000000000000000"),
        (1.4999940262704624e20, "149999402627046240000"),
        (1e21, "1e+21"),
        (1.4999940262704624e22, "1.4999940262704624e+22"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (3.0, "3"),
        (0.0, "0"),
        (-0.0, "-0"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (np.float32(0.1), "0.1"),
        (np.float32(1e-4), "0.0001"),
        (np.float32(-1e-4), "-0.0001"),
        (np.float32(1e-5), "1e-05"),
        (np.float32(16777216), "16777216"),
        (np.float32(1e20), "100000000000000000000"),
        (np.float32(1e21), "1e+21"),
        (np.float32(1e-45), "1e-45"),
        (np.int64(-7), "-7"),
        (np.True_, "true"),
        (np.False_, "false"),
    ],
)
def test_numbers_out(number: object, text: str) -> None:
    assert rows.format_numbers(np.array([number])) == [text]
    assert rows.format_numbers(np.array([[number, number]])) == [text, text], "flat, in order"


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32])
def test_numbers_out_are_the_shortest_that_read_back(dtype: np.dtype) -> None:
    bits = np.random.default_rng(5).integers(0, 2 ** (8 * dtype.itemsize), 20_000, f"u{dtype.itemsize}", endpoint=False)
    scales = (10.0 ** np.random.default_rng(6).uniform(-8, 24, 20_000)).astype(dtype)
    numbers = np.concatenate([bits.view(dtype), scales])
    numbers = numbers[np.isfinite(numbers)]
    for number, text in zip(numbers, rows.format_numbers(numbers), strict=True):
        assert dtype.type(text) == number
        mantissa, _, exponent = text.partition("e")
        digits = mantissa.lstrip("-").replace(".", "").strip("0")
        if exponent:
            assert int(exponent) < -4 or int(exponent) >= 21
        else:
            assert 1e-4 <= abs(float(text)) < 1e21
        if len(digits) > 1:  # no text with one digit less reads back to the number
            for rounding in (math.floor, math.ceil):
                shorter = Fraction(int(digits), 10)
                scale = Fraction(text.lstrip("-")) / int(digits)
                assert dtype.type(float(rounding(shorter) * 10 * scale)) != abs(number)


@pytest.mark.parametrize(
    "text", ["0", "-0", "+1", "1.", ".5", "-1.5e-3", "1E5", "00012", "nan", "NaN", "INF", "-inf", "+Inf"]
)
def test_numbers_in(text: str) -> None:
    for dtype in (FLOAT64, FLOAT32):
        (number,) = rows.parse_numbers(text, dtype, " in --x")
        assert number.tobytes() == dtype.type(float(text)).tobytes()


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1_0", "1d", "1f", "0x1", "infinity", "-infinity", "1e", "e5", ".", "--1", "١", "1e5.0", "true"],
)
def test_what_is_not_a_number(text: str) -> None:
    with pytest.raises(ValueError, match="not a number") as error:
        rows.parse_numbers(f"0,{text},2", FLOAT64, " in --x")
    assert str(error.value) == f"not a number: {text} in --x"


def test_results_line() -> None:
    for count in (0, 1, 3, rows.CHUNK, 2 * rows.CHUNK + 1):
        output = io.StringIO()
        rows.write_results(output, np.arange(count).reshape(1, -1))
        assert output.getvalue() == f"The calculation results : [{' '.join(map(str, range(count)))}]\n"


def test_out_of_range() -> None:
    for text, dtype in (
        ("1e400", FLOAT64),
        ("-1.8e308", FLOAT64),
        ("1e39", FLOAT32),
        ("3.4028235677973367e38", FLOAT32),
    ):
        with pytest.raises(ValueError, match="out of range") as error:
            rows.parse_numbers(f"0,{text}", dtype, " in --x")
        assert str(error.value) == f"out of range for {dtype}: {text}"
    with pytest.raises(ValueError, match="out of range for float32: 1e39 on line 7"):
        rows.parse_numbers("1e39", FLOAT32, " on line 7")
    assert rows.parse_numbers("1e-400", FLOAT64, "") == [0]
    assert rows.parse_numbers("3.4028235e38", FLOAT32, "") == [np.finfo(np.float32).max]


def test_float32_is_rounded_once() -> None:
    """Against exact fractions: midway between two float32s, and a hair to each side, normal and subnormal."""
    random = np.random.default_rng(7)
    for bits in [*random.integers(0, 0x7F7FFFFF, 300), 0, 1, 2, 0x7FFFFF, 0x800000, 0x7F7FFFFE, 0x7F7FFFFF]:
        low, high = (
            Fraction(struct.unpack("f", struct.pack("I", bits + i))[0]) if bits + i < 0x7F800000 else None
            for i in (0, 1)
        )
        middle = (low + (2**128 if high is None else high)) / 2
        assert middle.denominator & (middle.denominator - 1) == 0
        digits = _decimal(middle)
        even = bits if bits % 2 == 0 else bits + 1
        for text, expected in (
            (digits, even),
            (digits + "1", bits + 1),
            (_decimal(middle - Fraction(1, 10**200)), bits),
        ):
            if expected == 0x7F800000:
                with pytest.raises(ValueError, match="out of range"):
                    rows.parse_numbers(text, FLOAT32, "")
            else:
                assert rows.parse_numbers(text, FLOAT32, "").view(np.uint32)[0] == expected, text


def _decimal(number: Fraction) -> str:
    """All the digits of a fraction whose denominator divides a power of ten."""
    places = 0
    while (number * 10**places).denominator != 1:
        places += 1
    places += 1
    digits = str((number * 10**places).numerator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


@pytest.mark.parametrize(
    ("dims", "count", "fed"),
    [
        ([], 1, []),
        ([-1], 4, [4]),
        ([-1, -1], 4, [1, 4]),
        ([-1, 2], 4, [2, 2]),
        ([-1, 4], 4, [1, 4]),
        ([1, -1], 4, [1, 4]),
        ([2, -1], 4, [2, 2]),
        ([2, 2], 4, [2, 2]),
        ([-1, 2, 2], 8, [2, 2, 2]),
        ([-1, -1, 2], 8, [1, 4, 2]),
        (None, 1, []),
        (None, 4, [4]),
    ],
)
def test_feed_fits_the_placeholder(dims: list[int] | None, count: int, fed: list[int]) -> None:
    assert rows.feed_shape(dims, count, "x") == fed


@pytest.mark.parametrize(
    ("dims", "count", "takes"),
    [
        ([], 2, "1"),
        ([-1, 10], 4, "a multiple of 10"),
        ([4], 8, "4"),
        ([2, -1], 3, "a multiple of 2"),
        ([0], 1, "0"),
    ],
)
def test_feed_that_does_not_fit(dims: list[int], count: int, takes: str) -> None:
    with pytest.raises(ValueError, match="wrong") as error:
        rows.feed_shape(dims, count, "x")
    assert str(error.value) == f"wrong number of values: {count} given, the placeholder x takes {takes}"


def stream(data: bytes, dtype: np.dtype = FLOAT64, row: int = 1, batch: int = 4096) -> str:
    """Streams `data` through `2 * sum of the row`."""
    reader, writer = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writer, "wb", buffering=0) as file:
            file.write(data)

    threading.Thread(target=write).start()
    output = io.StringIO()
    calls = []

    def run(values: np.ndarray) -> np.ndarray:
        calls.append(len(values))
        assert values.dtype == dtype
        with np.errstate(over="ignore"):
            return 2 * values.sum(axis=1)

    try:
        rows.stream(reader, output, run, dtype, "x", row, batch)
    except ValueError as error:
        output.write(f"! {error}")
    finally:
        os.close(reader)
    assert max(calls, default=0) <= batch
    return output.getvalue()


@pytest.mark.parametrize(
    ("data", "row", "out"),
    [
        (b"", 1, ""),
        (b"1", 1, "2\n"),
        (b"1\n2\n", 1, "2\n4\n"),
        (b"1\r\n2\r\n3", 1, "2\n4\n6\n"),
        (b"nan\n-inf\n1e308\n", 1, "NaN\n-Inf\n+Inf\n"),
        (b"1\n\n2\n", 1, "2\n! not a number:  on line 2"),
        (b"1\n2\nthree\n4\n", 1, "2\n4\n! not a number: three on line 3"),
        (b"1\n1_0\n", 1, "2\n! not a number: 1_0 on line 2"),
        (b"1\n1e999\n", 1, "2\n! out of range for float64: 1e999 on line 2"),
        (b"1\n2,3\n", 1, "2\n! wrong number of values: 2 given on line 2, the placeholder x takes 1"),
        (b"1,2\n3,4\n", 2, "6\n14\n"),
        (b"1,2\n3\n", 2, "6\n! wrong number of values: 1 given on line 2, the placeholder x takes 2"),
        (b"1,2\n3,\n", 2, "6\n! not a number:  on line 2"),
        (b"1,2,3\n4\n", 2, "! wrong number of values: 3 given on line 1, the placeholder x takes 2"),
        (b"1\n\xff\n", 1, "2\n! not a number: \ufffd on line 2"),
        (b"1\r\r\n", 1, "! not a number: 1\r on line 1"),
    ],
)
def test_stream(data: bytes, row: int, out: str) -> None:
    assert stream(data, row=row) == out


def test_stream_in_batches_keeps_order_and_line_numbers() -> None:
    numbers = [str(i) for i in range(100_000)]
    assert stream("\n".join(numbers).encode(), batch=4096) == "".join(f"{2 * i}\n" for i in range(100_000))
    assert stream("\n".join(numbers).encode(), batch=1).splitlines()[-1] == "199998"
    numbers[77_776] = "x"
    out = stream("\n".join(numbers).encode()).splitlines()
    assert out[-2:] == [str(2 * 77_775), "! not a number: x on line 77777"]
    assert len(out) == 77_777


def test_stream_refuses_a_line_without_end() -> None:
    assert stream(b"1\n" + b"1" * (rows.LONGEST_LINE + 5)) == "2\n! too long: line 2 has more than 16777216 bytes"
