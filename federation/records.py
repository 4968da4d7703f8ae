"""Between our arrays and the records that Flower's messages hold."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.app.message.recorddict import RecordDict
from numpy.typing import NDArray

from federation.task import Arrays
from federation.wire import Encoded, decode, encode
from sensors.errors import InputError

ARRAYS, CONFIG, METRICS, NOTES = "arrays", "config", "metrics", "notes"
"""Keys of records in a message; the first three are Flower's own."""
LOSS = "loss"
EXAMPLES = "num-examples"
"""Flower's key of a node's weight in a mean."""
ROUND, RUN = "server-round", "run"
"""Keys of a message's configuration: Flower's number of the round, and our key of the run."""
_LAYOUT, _PAYLOAD, _JOINED = "layout", "payload", "terraguild.joined"


def to_record(arrays: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """Arrays as Flower keeps them."""
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> Arrays:
    """Inverse of `to_record`."""
    return {name: array.numpy() for name, array in record.items()}


def pack(
    arrays: Mapping[str, NDArray[Any]], precision: str, residual: Mapping[str, NDArray[Any]] | None
) -> tuple[ArrayRecord, Arrays]:
    """Arrays as they go over the wire, and what rounding has lost; see `federation.wire.encode`."""
    encoded, left = encode(arrays, precision, residual)
    return join(encoded), dict(left)


def unpack(record: ArrayRecord, like: Mapping[str, NDArray[Any]] | None = None) -> Arrays:
    """Inverse of `pack`.

    Args:
        record: What came.
        like: Arrays of the names, shapes and types that are expected.

    Raises:
        InputError: If an array cannot be read, or is not one of those expected; names it.
    """
    return dict(decode(split(record), like))


def join(encoded: Mapping[str, Encoded]) -> ArrayRecord:
    """Payloads one after another as a single array, beside another that says which is where.

    Flower asks, stores and answers for every array of a record by itself: with the 200 of a network
    the SuperLink used ten times the processor time that it takes with these two.
    """
    layout = [
        [name, one.dtype, list(one.shape), one.kind, len(one.data)] for name, one in encoded.items()
    ]
    parts = {
        _LAYOUT: json.dumps(layout).encode(),
        _PAYLOAD: b"".join(one.data for one in encoded.values()),
    }
    return ArrayRecord(
        {
            name: Array(dtype="uint8", shape=(len(data),), stype=_JOINED, data=data)
            for name, data in parts.items()
        }
    )


def split(record: ArrayRecord) -> dict[str, Encoded]:
    """Inverse of `join`.

    Raises:
        InputError: If these are not two such arrays, or the sizes in one are not those of the
            other.
    """
    if set(record) != {_LAYOUT, _PAYLOAD} or any(one.stype != _JOINED for one in record.values()):
        raise InputError(
            f"{len(record)} arrays came ({', '.join(sorted(record)[:3])}), expected {_LAYOUT} and "
            f"{_PAYLOAD} of kind {_JOINED}; are both ends of the same version?"
        )
    payload, encoded, end = memoryview(record[_PAYLOAD].data), {}, 0
    for name, dtype, shape, kind, size in _read_layout(record[_LAYOUT].data):
        begin, end = end, end + size
        encoded[name] = Encoded(bytes(payload[begin:end]), dtype, tuple(shape), kind)
    if end != len(payload):
        raise InputError(f"{len(payload)} bytes of weights came, and their layout is of {end}")
    return encoded


def _read_layout(data: bytes) -> list[tuple[str, str, list[Any], str, int]]:
    try:
        layout = json.loads(data)
        is_layout = isinstance(layout, list) and all(
            [type(part) for part in entry] == [str, str, list, str, int] and entry[-1] >= 0
            for entry in layout
        )
    except (ValueError, TypeError, RecursionError):
        is_layout = False
    if not is_layout:
        raise InputError("the layout of the weights that came cannot be read; was it damaged?")
    return [tuple(entry) for entry in layout]


def count_bytes(content: RecordDict) -> int:
    """Bytes of a message's content, as Flower counts them."""
    return sum(record.count_bytes() for record in content.values())


def reply_bytes(message: Message) -> int:
    """Bytes of a reply; an error has none worth counting."""
    return count_bytes(message.content) if message.has_content() else 0
