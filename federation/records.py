"""Between our arrays and the records that Flower's messages hold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.app.message.recorddict import RecordDict
from numpy.typing import NDArray

from federation.task import Arrays
from federation.wire import Encoded, decode, encode

ARRAYS, CONFIG, METRICS, NOTES = "arrays", "config", "metrics", "notes"
"""Keys of records in a message; the first three are Flower's own."""
LOSS = "loss"
EXAMPLES = "num-examples"
"""Flower's key of a node's weight in a mean."""
ROUND, RUN = "server-round", "run"
"""Keys of a message's configuration: Flower's number of the round, and our key of the run."""


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
    packed = {
        name: Array(dtype=entry.dtype, shape=tuple(entry.shape), stype=entry.kind, data=entry.data)
        for name, entry in encoded.items()
    }
    return ArrayRecord(packed), dict(left)


def unpack(record: ArrayRecord, like: Mapping[str, NDArray[Any]] | None = None) -> Arrays:
    """Inverse of `pack`.

    Args:
        record: What came.
        like: Arrays of the names, shapes and types that are expected.

    Raises:
        InputError: If an array cannot be read, or is not one of those expected; names it.
    """
    entries = {
        name: Encoded(
            data=array.data, dtype=array.dtype, shape=tuple(array.shape), kind=array.stype
        )
        for name, array in record.items()
    }
    return dict(decode(entries, like))


def count_bytes(content: RecordDict) -> int:
    """Bytes of a message's content, as Flower counts them."""
    return sum(record.count_bytes() for record in content.values())


def reply_bytes(message: Message) -> int:
    """Bytes of a reply; an error has none worth counting."""
    return count_bytes(message.content) if message.has_content() else 0
