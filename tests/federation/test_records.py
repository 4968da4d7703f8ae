"""Weights as two arrays of Flower's, and what is refused."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.records import count_bytes, join, pack, split, to_record, unpack
from federation.wire import PRECISIONS, encode
from sensors import InputError

WEIGHTS = {
    "b.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "a": np.array(4.0),
    "none": np.zeros((0, 2), np.float32),
    "count": np.arange(3),
}


def record(layout, payload=b"", **changes):
    data = {"layout": layout if isinstance(layout, bytes) else json.dumps(layout).encode()}
    data["payload"] = payload
    given = {"dtype": "uint8", "stype": "terraguild.joined"} | changes
    return ArrayRecord(
        {name: Array(shape=(len(one),), data=one, **given) for name, one in data.items()}
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_was_packed_comes_back_in_its_order(precision):
    packed, _ = pack(WEIGHTS, precision, None)
    assert len(packed) == 2
    assert split(packed) == encode(WEIGHTS, precision)[0]
    found = unpack(packed, WEIGHTS)
    assert list(found) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_allclose(found[name], array, atol=0.01)
        found[name][...] = 0  # may be written to


def test_nothing_at_all_comes_back():
    assert unpack(join({})) == {}


def test_names_and_shapes_cost_few_bytes():
    """A network's layout is small beside its weights, even where these are small themselves."""
    weights = {f"stages.{i}.blocks.weight": np.ones((64, 64), np.float32) * i for i in range(200)}
    encoded, _ = encode(weights, "float16")
    payload = sum(len(one.data) for one in encoded.values())
    assert count_bytes({"arrays": join(encoded)}) < payload + 200 * 100


@pytest.mark.parametrize(
    "layout",
    [
        b"",
        b"\xff",
        b"{",
        b"[" * 100_000,
        {},
        7,
        [7],
        ["abcde"],
        [["w", "float32", [1], "terraguild.plain"]],
        [["w", "float32", [1], "terraguild.plain", -4]],
        [["w", "float32", [1], "terraguild.plain", 4.0]],
        [["w", "float32", [1], "terraguild.plain", True]],
        [["w", "float32", 1, "terraguild.plain", 4]],
        [[1, "float32", [1], "terraguild.plain", 4]],
    ],
)
def test_a_layout_that_is_none_is_refused(layout):
    with pytest.raises(InputError, match="layout of the weights that came cannot be read"):
        split(record(layout, bytes(4)))


@pytest.mark.parametrize("size", [0, 3, 5, 10**30])
def test_sizes_that_are_not_those_of_the_payload_are_refused(size):
    layout = [["w", "float32", [1], "terraguild.plain", size]]
    with pytest.raises(
        InputError, match=rf"4 bytes of weights came, and their layout is of {size}"
    ):
        split(record(layout, bytes(4)))


def test_other_arrays_are_refused():
    with pytest.raises(InputError, match=r"4 arrays came .*expected layout and payload"):
        split(to_record(WEIGHTS))
    with pytest.raises(InputError, match=r"payload of kind terraguild\.joined"):
        split(record([], stype="numpy.ndarray"))
    with pytest.raises(InputError, match="0 arrays came"):
        split(ArrayRecord())


def test_shapes_that_are_none_are_refused_by_name():
    layout = [["w", "float32", [[1], None], "terraguild.plain", 4]]
    with pytest.raises(InputError, match=r"w: .* is not the shape of an array"):
        unpack(record(layout, bytes(4)))


@settings(deadline=None, max_examples=100)
@given(layout=st.binary(max_size=60), payload=st.binary(max_size=60))
def test_any_bytes_are_weights_or_refused(layout, payload):
    try:
        unpack(record(layout, payload))
    except InputError:
        return
    assert not payload
