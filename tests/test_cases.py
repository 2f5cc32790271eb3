"""Python's driver for the cases that every language must pass: values in and out, shapes, batches, streams."""

import io
import json
import os
from typing import Any

from conftest import ROOT
from model_import_export import rows
from model_import_export.rows import Placeholder

import numpy as np
import pytest


def cases(name: str) -> list[Any]:
    """The cases in a file, each with its number as its id."""
    found = json.loads((ROOT / "tests" / "cases" / f"{name}.json").read_text())
    return [pytest.param(case, id=str(i)) for i, case in enumerate(found)]


def bits(array: np.ndarray, dtype: str) -> list[str]:
    """The elements in hexadecimal, most significant first; for strings, their bytes."""
    if dtype == "string":
        return [value.hex() for value in array]
    is_nan = [bool(value != value) for value in array]
    return ["nan" if nan else value.tobytes()[::-1].hex() for nan, value in zip(is_nan, array, strict=True)]


def said(error: ValueError) -> dict[str, str]:
    return {"error": str(error)}


def placeholder(shape: list[int] | None, dtype: str = "float64") -> Placeholder:
    return Placeholder("x", dtype, None if shape is None else tuple(shape))


@pytest.mark.parametrize("case", cases("values_in"))
def test_values_in(case: dict[str, Any]) -> None:
    try:
        array = rows.parse_values(case["text"], case["dtype"], case.get("where", " in --x"))
        result = {"bits": bits(array, case["dtype"])}
    except ValueError as error:
        result = said(error)
    assert result.items() <= case.items()


@pytest.mark.parametrize("case", cases("values_out"))
def test_values_out(case: dict[str, str]) -> None:
    data, dtype = bytes.fromhex(case["bits"]), case["dtype"]
    if dtype == "string":
        array = np.array([data], object)
    else:
        array = np.frombuffer(data[::-1], np.uint8).view(rows.numpy_type(dtype))
    assert rows.format_values(array) == [case["text"]]
    assert rows.format_values(np.array([[array[0], array[0]]], array.dtype)) == [case["text"]] * 2, "flat, in order"


@pytest.mark.parametrize("case", cases("shapes"))
def test_shapes(case: dict[str, Any]) -> None:
    try:
        result = {"feed": rows.feed_shape(placeholder(case["shape"]), case["count"])}
    except ValueError as error:
        result = said(error)
    assert result.items() <= case.items()


@pytest.mark.parametrize("case", cases("batches"))
def test_batches(case: dict[str, Any]) -> None:
    try:
        result = {"rows": rows.batch_rows(placeholder(case["shape"]), case["result"], case["batch"], False)}
    except ValueError as error:
        result = said(error)
    assert result.items() <= case.items()


@pytest.mark.parametrize("case", cases("streams"))
def test_streams(case: dict[str, Any]) -> None:
    runs: list[list[int]] = []

    def double(values: np.ndarray) -> np.ndarray:
        runs.append(list(values.shape))
        return 2 * values

    reader, writer = os.pipe()
    os.write(writer, case["input"].encode())
    os.close(writer)
    output, result = io.StringIO(), {}
    try:
        rows.stream(reader, output, double, placeholder(case["shape"]), case["batch"])
    except ValueError as error:
        result = said(error)
    os.close(reader)
    assert {"runs": runs, "output": output.getvalue(), **result} == {
        key: case[key] for key in ("runs", "output", "error") if key in case
    }


def test_a_terminal_is_answered_at_once() -> None:
    assert rows.batch_rows(placeholder([-1, -1]), [-1, -1], None, True) == 1
