"""Checks that what a checkpoint's files say about themselves holds, before TensorFlow relies on it.

`PREFIX.index` is a LevelDB table: blocks of keys and values, and a footer of 48 bytes that says where the index of the
blocks is. The key of an entry is a tensor's name and its value a BundleEntryProto; the empty key holds the
BundleHeaderProto. `PREFIX.data-*` hold the tensors' bytes.

Sources: tensorflow/core/util/tensor_bundle, tensorflow/core/lib/io/table_format.txt.
"""

import itertools
import math
import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from model_import_export import ModelError
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import dtype_name

import cramjam

MAGIC = 0xDB4775248B80FB57
MAX_INDEX = 64 << 20  # bytes
MAX_ENTRIES = 20_000
MAX_DATA = 256 << 20  # bytes in all shards together


class Entry(NamedTuple):
    """A tensor in a checkpoint."""

    dtype: str
    shape: tuple[int, ...]
    size: int  # bytes


def read_entries(prefix: str, most: int = MAX_DATA) -> dict[str, Entry]:
    """Reads the index of a checkpoint and compares it with the sizes of its files.

    Args:
        most: the maximum bytes of all its data together.

    Raises:
        ModelError: a size, offset or shape does not fit; the error names the file or tensor.
        OSError: a file cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    path = f"{prefix}.index"
    if not os.path.exists(path):  # version 1, a single file: TensorFlow's own reader tells what is in it
        reader = tf.train.load_checkpoint(prefix)
        dtypes = reader.get_variable_to_dtype_map()
        shapes = reader.get_variable_to_shape_map()
        size = os.path.getsize(prefix)
        return {name: Entry(dtypes[name].name, tuple(shape), size) for name, shape in shapes.items()}
    if os.path.getsize(path) > MAX_INDEX:
        raise ModelError(f"not a usable checkpoint: {path} is larger than {MAX_INDEX >> 20} MiB")
    with open(path, "rb") as file:
        data = file.read()
    try:
        items = list(_items(data))
        if any(key >= after for (key, _), (after, _) in itertools.pairwise(items)):
            raise ValueError("its keys are not in order")
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(dict(items).get(b"", b"\xff"))
        protos = [
            (key.decode(errors="surrogateescape"), tensor_bundle_pb2.BundleEntryProto.FromString(value))
            for key, value in items
            if key
        ]
    except (ValueError, IndexError, struct.error, cramjam.DecompressionError, DecodeError) as error:
        raise ModelError(f"not a usable checkpoint: {path}: {error}") from None
    shards = [f"{prefix}.data-{i:05}-of-{header.num_shards:05}" for i in range(min(header.num_shards, MAX_ENTRIES))]
    sizes = [os.path.getsize(shard) for shard in shards]
    if sum(sizes) > most:
        raise ModelError(f"not a usable checkpoint: {prefix} has more than {most >> 20} MiB of data")
    entries = {}
    for name, proto in protos:
        if not 0 <= proto.shard_id < len(shards):
            raise ModelError(f"not a usable checkpoint: {path}: {name} is in a shard that is not there")
        entries[name] = _check(name, proto, path, shards[proto.shard_id], sizes[proto.shard_id])
    return entries


def _check(name: str, proto: Any, path: str, shard: str, size: int) -> Entry:
    dtype, dims = dtype_name(proto.dtype), tuple(dim.size for dim in proto.shape.dim)
    fault = f"not a usable checkpoint: {path}: {name}"
    if proto.shape.unknown_rank or any(dim < 0 for dim in dims) or len(dims) > 254:
        raise ModelError(f"{fault} has no definite shape")
    if proto.slices:
        return Entry(dtype, dims, size)  # the parts have their own entries
    if proto.offset < 0 or proto.size < 0 or proto.offset + proto.size > size:
        raise ModelError(f"{fault} ends beyond {shard}")
    elements = math.prod(dims)
    if dtype == "string":
        _check_strings(fault, proto, shard, elements)
    elif dtype in ("variant", "resource") or dtype.startswith("the unknown"):
        raise ModelError(f"{fault} is of type {dtype}")
    elif elements * tf.as_dtype(proto.dtype).size != proto.size:
        raise ModelError(f"{fault} has {proto.size} bytes for {elements} elements")
    return Entry(dtype, dims, proto.size)


def _check_strings(fault: str, proto: Any, shard: str, elements: int) -> None:
    """Checks a string tensor: the lengths as varints, four bytes of checksum, then the strings."""
    with open(shard, "rb") as file:
        file.seek(proto.offset)
        data = file.read(proto.size)
    if elements > len(data):
        raise ModelError(f"{fault} has {proto.size} bytes for {elements} strings")
    position, total = 0, 0
    try:
        for _ in range(elements):
            length, position = _varint(data, position)
            total += length
    except IndexError:
        total = proto.size
    if position + 4 + total != proto.size:
        raise ModelError(f"{fault} has strings of {total} bytes in {proto.size}")


def _items(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(data) < 48 or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end as an index does")
    position = len(data) - 48
    for _ in range(2):  # skip the metaindex handle
        _, position = _varint(data, position)
    offset, position = _varint(data, position)
    size, _ = _varint(data, position)
    count = 0
    for _, handle in _block(data, offset, size):
        start, position = _varint(handle, 0)
        length, _ = _varint(handle, position)
        for item in _block(data, start, length):
            count += 1
            if count > MAX_ENTRIES:
                raise ValueError(f"it has more than {MAX_ENTRIES} entries")
            yield item


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields a block's keys and values. An entry's first number is how much of the previous key its own begins with."""
    if offset + size + 5 > len(data) - 48 or size < 4:
        raise ValueError(f"a block of {size} bytes at {offset} is not in it")
    block = data[offset : offset + size]
    if data[offset + size]:
        if data[offset + size] != 1 or _varint(block, 0)[0] > MAX_INDEX:
            raise ValueError("a block is compressed in an unknown way")
        block = bytes(cramjam.snappy.decompress_raw(block))
    count = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 - 4 * count
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes cannot have {count} restarts")
    restarts = set(struct.unpack(f"<{count}I", block[end:-4]))  # where a search starts reading
    position, key = 0, b""
    while position < end:
        start = position
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError("an entry ends beyond its block")
        if not shared:
            restarts.discard(start)
        key = key[:shared] + block[position : position + unshared]
        yield key, block[position + unshared : position + unshared + length]
        position += unshared + length
    if restarts - {0}:
        raise ValueError("a search would begin within an entry")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a varint, seven bits per byte, lowest first. Returns it and its end. Raises ValueError beyond 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[position] & 127) << shift
        position += 1
        if data[position - 1] < 128:
            return value, position
    raise ValueError("a number has more than 64 bits")
