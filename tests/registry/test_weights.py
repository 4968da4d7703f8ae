import json

import pytest

from registry.weights import HEADER_LIMIT, read_metadata
from sensors.errors import InputError
from specialists.header import decode_header


def with_header(header, data=b""):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


TENSOR = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def test_metadata_of_a_sound_file(write_weights, new_spec):
    path, _ = write_weights(new_spec())

    assert decode_header(read_metadata(path), path) == new_spec()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"\x10\0\0\0", "truncated"),
        (with_header(TENSOR)[:20], "truncated"),
        (with_header(TENSOR, b"12"), "truncated"),
        (with_header(TENSOR, b"12345"), "appended"),
        ((HEADER_LIMIT + 1).to_bytes(8, "little") + b"{}", "over the limit"),
        ((2**64 - 1).to_bytes(8, "little") + b"{}", "over the limit"),
        (with_header(b"not json"), "not JSON"),
        (with_header(b"\xff\xfe"), "not JSON"),
        (with_header(b"[" * 100_000), "not JSON"),
        (with_header([]), "not a JSON object"),
        (with_header({"__metadata__": []}), "not an object of strings"),
        (with_header({"__metadata__": {"a": 1}}), "not an object of strings"),
        (with_header({"a": {}}), "no tensors"),
        (with_header({"a": 3}), "no tensors"),
        (with_header({"a": {"data_offsets": [0, "x"]}}), "no tensors"),
        (b"\x80\x04" + b"a pickle is none either", "over the limit"),
    ],
)
def test_malformed_files_are_refused_by_name(content, message, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)

    with pytest.raises(InputError, match=message) as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)


def test_a_claimed_header_is_never_read_into_memory(tmp_path):
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:  # sparse: it takes no space
        file.write((10**12).to_bytes(8, "little"))
        file.truncate(10**12)

    with pytest.raises(InputError, match="over the limit"):
        read_metadata(path)
