"""Nodes that misbehave."""

import numpy as np

from federation.checkpoint import RunState
from federation.client_app import build_app
from federation.records import ARRAYS, from_record, join, split, to_record
from federation.wire import Encoded


def altered_app(change, *, packed=False):
    """The nodes' app, whose answers to training are changed.

    Args:
        change: From a node's number and its arrays to other arrays.
        packed: Whether it gets what goes over the wire, by `federation.wire`, or the weights.
    """

    def alter(message, context, call_next):
        reply = call_next(message, context)
        number = context.node_config["partition-id"]
        if reply.has_content():
            record = reply.content.array_records[ARRAYS]
            if packed:
                reply.content[ARRAYS] = join(change(number, split(record)))
            else:
                reply.content[ARRAYS] = to_record(change(number, from_record(record)))
        return reply

    return build_app(over_wire=alter) if packed else build_app(over_weights=alter)


def dying_app(folder, rounds):
    """Nodes that take the whole process with them once so many rounds were finished."""

    def die(number, arrays):
        state = RunState.load(folder)
        if state is not None and len(state.history) == rounds:
            raise KeyboardInterrupt
        return arrays

    return altered_app(die)


def with_nan(number, arrays):
    """Node 1 has learned something that is no number."""
    if number == 1:
        name = min(arrays)
        arrays[name] = np.full_like(arrays[name], np.nan)
    return arrays


def with_nan_bytes(number, encoded):
    """Node 1 sends bytes that stand for NaN, which our own codec would refuse to write."""
    if number == 1:
        name = min(encoded)
        shape = encoded[name].shape
        numbers = np.full(shape, np.nan, "<f4").reshape(-1, 1).view(np.uint8)
        data = numbers.reshape(-1, 4).T.tobytes()
        encoded[name] = Encoded(data, "float32", shape, "terraguild.float32")
    return encoded


def with_other_shape(number, encoded):
    """Node 1 sends a weight of another shape."""
    if number == 1:
        encoded[min(encoded)] = Encoded(bytes(8), "float32", (2,), "terraguild.float32")
    return encoded
