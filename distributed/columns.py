"""The numbers in an Arrow column, and which of its values are not numbers.

Text follows the grammar of all consumers (`tests/cases/`): `1_0`, ` 1` and `infinity` are not numbers, `1e999` is out
of range. How a value is read never depends on its neighbours.
"""

from typing import NamedTuple

from model_import_export import rows

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GRAMMAR = f"(?i)^(?:{rows.NUMBER.pattern})$"
INFINITY = "(?i)^[+-]?inf$"


class Numbers(NamedTuple):
    """A column's values in the model's type, and which are good: not text, null, NaN or out of range."""

    values: np.ndarray
    good: np.ndarray  # bool, of the same shape


def read_rows(columns: list[pa.Array], width: int, dtype: np.dtype) -> Numbers:
    """The numbers of rows: from one column per number in a row, or from one column of lists.

    Returns:
        Values of `dtype`, shape `[n, width]`; good rows, shape `[n]`.

    Raises:
        ValueError: a column does not hold numbers.
    """
    if len(columns) == 1 and is_list(columns[0].type):
        (lists,) = columns
        good = pc.fill_null(pc.equal(pc.list_value_length(lists), width), False).to_numpy(zero_copy_only=False)
        values = np.zeros([len(lists), width], dtype)
        found = read_column(pc.list_flatten(lists.filter(pa.array(good))), dtype)
        values[good] = found.values.reshape(-1, width)
        good[good] = found.good.reshape(-1, width).all(axis=1)
        return Numbers(values, good)
    found = [read_column(column, dtype) for column in columns]
    if len(found) == 1:
        return Numbers(found[0].values.reshape(-1, 1), found[0].good)
    return Numbers(np.stack([each.values for each in found], 1), np.all([each.good for each in found], axis=0))


def is_list(kind: pa.DataType) -> bool:
    """Whether each value of a column of this type can hold a whole row."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def read_column(column: pa.Array, dtype: np.dtype) -> Numbers:
    """A column's numbers, each rounded once to `dtype`, a float type. Raises ValueError for other column types."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.string())  # Arrow's own cast from decimal to float rounds one in thirty wrong
    if pa.types.is_string(column.type):
        return _read_texts(column, dtype)
    if pa.types.is_null(kind):
        return Numbers(np.zeros(len(column), dtype), np.zeros(len(column), bool))
    if not pa.types.is_integer(kind) and not pa.types.is_floating(kind):
        raise ValueError(f"not numbers: a column of type {kind}")
    filled = pc.fill_null(column, 0) if column.null_count else column
    source = filled.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        values = source.astype(dtype, copy=False)
    good = ~np.isnan(values) if values is source else np.isfinite(values) | np.isinf(source)
    if column.null_count:
        good &= column.is_valid().to_numpy(zero_copy_only=False)
    return Numbers(values, good)


def _read_texts(texts: pa.Array, dtype: np.dtype) -> Numbers:
    wanted = pa.from_numpy_dtype(dtype)
    try:
        numbers = texts.cast(wanted)
    except pa.ArrowInvalid:  # all that Arrow accepts beyond the grammar is not finite, and is checked below
        texts = pc.if_else(pc.match_substring_regex(texts, GRAMMAR), texts, pa.scalar(None, texts.type))
        numbers = texts.cast(wanted)
    values = pc.fill_null(numbers, pa.scalar(np.nan, wanted)).to_numpy(zero_copy_only=False)
    good = np.isfinite(values)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        good[infinite] = pc.match_substring_regex(texts.take(pa.array(infinite)), INFINITY)
    return Numbers(values, good)


def fault(value: pa.Scalar, width: int, dtype: np.dtype) -> str | None:
    """What is wrong with a value, such as `not a number: abc`; None if it is good."""
    if is_list(value.type):
        good = value.is_valid and len(value) == width and read_column(value.values, dtype).good.all()
        return None if good else f"not {width} numbers: {_shown(value)}"
    found = read_column(pa.array([value.as_py()], value.type), dtype)
    if found.good[0]:
        return None
    text = "null" if not value.is_valid else str(value.as_py())
    is_text = isinstance(value.as_py(), str)
    if not value.is_valid or "nan" in text.lower() or (is_text and not rows.NUMBER.fullmatch(text)):
        return f"not a number: {_shown(value)}"
    return f"out of range for {dtype.name}: {_shown(value)}"


def _shown(value: pa.Scalar) -> str:
    text = str(value.as_py()) if value.is_valid else "null"
    return (text if len(text) < 80 else f"{text[:77]}...") or '""'
