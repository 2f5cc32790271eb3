"""TensorFlow Serving's JSON: turns requests into arrays, and results into replies.

Source: https://www.tensorflow.org/tfx/serving/api_rest. `NaN`, `Infinity` and `-Infinity`, which JSON lacks, are
accepted and returned as bare tokens. Binary strings are `{"b64": "..."}`.
"""

import base64
import binascii
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from model_import_export.graph_mode import tf
from servable import RequestError, Tensor

import numpy as np
import orjson

MAX_DEPTH = 32
MOST_FLOAT32 = float(np.finfo(np.float32).max)
KINDS = {bool: "a bool", int: "an integer", float: "a number", str: "a string", type(None): "null", list: "a list"}
SPACE = re.compile(r"[ \t\n\v\f\r]+")


def parse(body: bytes) -> dict[str, Any]:
    """Parses a request's body, which must be an object. Raises RequestError."""
    try:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:  # slower, but takes NaN and integers of any size
            document = json.loads(body, parse_float=_finite)
    except RequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise RequestError("INVALID_ARGUMENT", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise RequestError("INVALID_ARGUMENT", 'not an object: the body (it takes {"instances": ...})')
    return document


def _finite(text: str) -> float:
    """Parses a number with a point or an exponent. Infinity is a separate token."""
    number = float(text)
    if math.isinf(number):
        raise RequestError("INVALID_ARGUMENT", f"out of range for float64: {text[:40]}")
    return number


def signature_name(document: Mapping[str, Any]) -> str:
    """The `signature_name` of a request; empty if there is none. Raises RequestError."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError("INVALID_ARGUMENT", "not a string: signature_name")
    return name


def parse_predict(document: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> tuple[dict[str, np.ndarray], int]:
    """A predict request's arrays by key, and its number of rows, which is 0 in column form. Raises RequestError."""
    unknown = document.keys() - {"signature_name", "instances", "inputs"}
    if unknown or ("instances" in document) == ("inputs" in document):
        wrong = f": {min(unknown)}" if unknown else ""
        raise RequestError("INVALID_ARGUMENT", f'not a predict request{wrong} (give either "instances" or "inputs")')
    by_row = "instances" in document
    values = document["instances" if by_row else "inputs"]
    if by_row:
        if not isinstance(values, list) or not values:
            raise RequestError("INVALID_ARGUMENT", "not a list with a row at least: instances")
        if all(isinstance(row, dict) and row.keys() != {"b64"} for row in values):
            keys = values[0].keys()
            if any(row.keys() != keys for row in values):
                raise RequestError("INVALID_ARGUMENT", "not the same keys in every row: instances")
            values = {key: [row[key] for row in values] for key in keys}
        else:
            values = _only(inputs, values)
    elif not isinstance(values, dict) or values.keys() == {"b64"}:
        values = _only(inputs, values)
    missing, more = inputs.keys() - values.keys(), values.keys() - inputs.keys()
    if missing or more:
        wrong = f"no value for: {min(missing)}" if missing else f"no such input: {min(more)}"
        raise RequestError("INVALID_ARGUMENT", f"{wrong} (the signature takes: {', '.join(sorted(inputs))})")
    rows = len(document["instances"]) if by_row else 0
    return {key: to_array(values[key], tensor, key) for key, tensor in inputs.items()}, rows


def _only(inputs: Mapping[str, Tensor], values: Any) -> dict[str, Any]:
    if len(inputs) != 1:
        raise RequestError(
            "INVALID_ARGUMENT", f"no keys: the values (the signature takes: {', '.join(sorted(inputs))})"
        )
    return dict.fromkeys(inputs, values)


def to_array(value: Any, tensor: Tensor, key: str) -> np.ndarray:
    """An array of the tensor's dtype from nested lists. Raises RequestError: ragged, another type or out of range."""
    shape, flat = [], [value]
    while any(isinstance(element, list) for element in flat):
        lengths = {len(element) if isinstance(element, list) else -1 for element in flat}
        if len(lengths) > 1 or len(shape) == MAX_DEPTH:
            raise RequestError("INVALID_ARGUMENT", f"not a tensor: {key} (its lists are not all of one length)")
        shape += lengths
        flat = list(itertools.chain.from_iterable(flat))
    dtype = tensor.numpy
    if tensor.dtype == tf.string:
        array = np.empty(len(flat), object)
        array[:] = [_bytes(element, key) for element in flat]
        return array.reshape(shape)
    kind = "f" if tensor.dtype == tf.bfloat16 else dtype.kind
    allowed = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}.get(kind, set())
    wrong = set(map(type, flat)) - allowed
    if wrong:
        kinds = " and ".join(sorted(KINDS.get(kind, "an object") for kind in wrong))
        raise RequestError("INVALID_ARGUMENT", f"wrong type: {kinds} in {key}, which takes {tensor.dtype.name}")
    try:
        if kind == "f":
            exact = np.array(flat, np.float64)
            with np.errstate(over="ignore"):
                array = exact.astype(dtype)
            if not np.isfinite(array).all() and (np.isfinite(exact) & ~np.isfinite(array)).any():
                raise OverflowError
        else:
            array = np.array(flat, dtype)
    except OverflowError:
        raise RequestError("INVALID_ARGUMENT", f"out of range for {tensor.dtype.name}: a number in {key}") from None
    return array.reshape(shape)


def _bytes(value: Any, key: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        return _from_base64(value["b64"], key)
    raise RequestError("INVALID_ARGUMENT", f"wrong type: {_kind(value)} in {key}, which takes strings or b64 objects")


def _from_base64(text: str, key: str) -> bytes:
    """Decodes as TensorFlow Serving does: padding may be missing but not wrong, and white space is ignored."""
    text = SPACE.sub("", text)
    data = text.rstrip("=")
    try:
        if len(text) == len(data) or len(text) % 4 == 0:
            return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise RequestError("INVALID_ARGUMENT", f"not base64: b64 in {key}")


def _kind(value: Any) -> str:
    return KINDS.get(type(value), "an object")


def parse_examples(document: Mapping[str, Any]) -> list[bytes]:
    """A classify or regress request's serialized tf.Examples, each with the context. Raises RequestError."""
    unknown = document.keys() - {"signature_name", "context", "examples"}
    examples, context = document.get("examples"), document.get("context", {})
    if unknown or not isinstance(context, dict) or not isinstance(examples, list) or not examples:
        raise RequestError(
            "INVALID_ARGUMENT", "not a classify or regress request (it takes examples, a list of objects)"
        )
    return [_example(example, context) for example in examples]


def _example(example: Any, context: Mapping[str, Any]) -> bytes:
    if not isinstance(example, dict):
        raise RequestError("INVALID_ARGUMENT", "not an object: one of the examples")
    result = tf.train.Example()
    for key, value in {**context, **example}.items():
        values = value if isinstance(value, list) else [value]
        feature, kinds = result.features.feature[key], set(map(type, values))
        if not kinds:
            continue
        if not kinds <= {int, float} and not kinds <= {str, dict}:
            wrong = next(element for element in values if type(element) not in (int, float))
            raise RequestError("INVALID_ARGUMENT", f"wrong type: {_kind(wrong)} in {key}, a feature of an example")
        try:
            if kinds <= {int}:
                feature.int64_list.value.extend(values)
            elif kinds <= {int, float}:
                if any(math.isfinite(element) and abs(element) > MOST_FLOAT32 for element in values):
                    raise OverflowError  # a protocol buffer would turn it into infinity
                feature.float_list.value.extend(values)
            else:
                feature.bytes_list.value.extend(_bytes(element, key) for element in values)
        except RequestError:
            raise
        except (ValueError, OverflowError):
            raise RequestError("INVALID_ARGUMENT", f"out of range for int64 or float32: a number in {key}") from None
    return result.SerializeToString()


def predict_reply(results: Mapping[str, np.ndarray], by_row: int) -> bytes:
    """`{"predictions": ...}` for a request in row form, `{"outputs": ...}` in column form. Raises RequestError."""
    values = {key: _values(array, key) for key, array in results.items()}
    single = next(iter(values.values())) if len(values) == 1 else None
    if not by_row:
        return dump({"outputs": values if single is None else single})
    if len({array.shape[:1] for array in results.values()}) > 1 or any(not array.ndim for array in results.values()):
        raise RequestError("INVALID_ARGUMENT", "not one result per row: the outputs (ask in column form, with inputs)")
    if single is not None:
        return dump({"predictions": single})
    lists = [value if isinstance(value, list) else value.tolist() for value in values.values()]
    return dump({"predictions": [dict(zip(values, row, strict=True)) for row in zip(*lists, strict=True)]})


def _values(array: np.ndarray, key: str) -> Any:
    """Values for `dump`: numbers and text. Bytes that are not UTF-8, or whose key ends in `_bytes`, become base64."""
    if array.dtype.name in ("float16", "bfloat16"):  # orjson does not know it
        return array.astype(np.float32)
    if array.dtype.kind not in "OS":
        return array

    def shown(element: Any) -> Any:
        if isinstance(element, list):
            return [shown(inner) for inner in element]
        try:
            if not key.endswith("_bytes"):
                return element.decode()
        except UnicodeDecodeError:
            pass
        return {"b64": base64.b64encode(element).decode()}

    return shown(array.tolist())


def dump(document: Any) -> bytes:
    """Writes JSON with the shortest digits that read back to the value in its own dtype."""
    finite = not any(
        isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all()
        for part in document.values()
        for value in (part.values() if isinstance(part, dict) else [part])
    )
    if finite:
        return orjson.dumps(document, _plain, orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=_with_tokens).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # not contiguous
        return value.tolist()
    raise TypeError


def _with_tokens(value: np.ndarray) -> list[Any]:
    if value.dtype == np.float32:  # float(str(x)) has the digits of the float32
        return np.reshape(np.array([float(str(element)) for element in value.flat], object), value.shape).tolist()
    return value.tolist()


def classes_and_scores(results: Mapping[str, np.ndarray]) -> tuple[list[list[bytes]], list[list[float]]]:
    """A classification's labels and scores, one list per example. Raises RequestError if the outputs are others."""
    classes, scores = results.get("classes"), results.get("scores")
    known = [array for array in (classes, scores) if array is not None]
    if not known or any(array.ndim != 2 or array.shape != known[0].shape for array in known):
        raise RequestError("INVALID_ARGUMENT", "not classes and scores of one shape [examples, classes]: the outputs")
    labels = np.full(scores.shape, b"").tolist() if classes is None else classes.tolist()
    return labels, np.zeros(classes.shape).tolist() if scores is None else _with_tokens(scores)


def regressions(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """A regression's numbers, one per example. Raises RequestError if the outputs are others."""
    values = next(iter(results.values())) if len(results) == 1 else results.get("outputs")
    if values is None or values.dtype.kind not in "fV" or values.size != values.shape[:1][0]:
        raise RequestError("INVALID_ARGUMENT", "not one number per example: the outputs")
    return values.reshape(-1)


def classify_reply(results: Mapping[str, np.ndarray]) -> bytes:
    """`{"results": [[[label, score], ...], ...]}`, one inner list per example.

    TensorFlow Serving's page calls the key `result`, but the server answers with `results`.
    """
    labels, scores = classes_and_scores(results)
    texts = _values(np.array(labels, object), "classes")
    pairs = [list(map(list, zip(*row, strict=True))) for row in zip(texts, scores, strict=True)]
    return json.dumps({"results": pairs}).encode()


def regress_reply(results: Mapping[str, np.ndarray]) -> bytes:
    """`{"results": [number, ...]}`, one per example."""
    return dump({"results": _values(regressions(results), "outputs")})
