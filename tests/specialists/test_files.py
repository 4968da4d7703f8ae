import json
import struct
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sensors import InputError
from specialists import build_specialist, load_specialist, read_spec, save_weights
from specialists.header import decode_header, encode_header

TASKS = {
    "scene": {"head_hidden_size": 8},
    "pool": {"head": "pool", "stem_stride": 2},
    "unet": {"task": "semantic-segmentation"},
    "fpn": {"task": "regression", "per_pixel": True, "decoder": "fpn", "target_mean": (1, 2, 3)},
}


@pytest.fixture
def saved(get_specialist, tmp_path):
    specialist = get_specialist()
    path = tmp_path / "weights.safetensors"
    save_weights(specialist, path)
    return specialist, path


@pytest.mark.parametrize("task", TASKS)
def test_a_loaded_specialist_gives_identical_outputs(get_specialist, tmp_path, task):
    specialist = get_specialist(**TASKS[task])
    save_weights(specialist, tmp_path / "w.safetensors")
    loaded = load_specialist(str(tmp_path / "w.safetensors"))
    x_BCHW = torch.rand(2, 4, 37, 41)
    assert loaded.spec == specialist.spec == read_spec(tmp_path / "w.safetensors")
    assert not loaded.training
    assert not loaded.is_frozen
    assert torch.equal(loaded.predict(x_BCHW), specialist.predict(x_BCHW))


def test_the_same_weights_are_the_same_bytes(saved, tmp_path):
    specialist, path = saved
    other = deepcopy(specialist).to(memory_format=torch.channels_last)
    save_weights(other, tmp_path / "second.safetensors")
    save_weights(load_specialist(path), tmp_path / "third.safetensors")
    assert (tmp_path / "second.safetensors").read_bytes() == path.read_bytes()
    assert (tmp_path / "third.safetensors").read_bytes() == path.read_bytes()


def test_the_header_is_one_sorted_json_entry(saved):
    specialist, path = saved
    metadata = header_of(path)["__metadata__"]
    record = {"format": 1, "spec": specialist.spec.to_dict()}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    assert metadata == {"specialist": text}
    assert decode_header(metadata, path) == specialist.spec


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_weights_are_mapped_from_the_file(saved):
    _, path = saved
    loaded = load_specialist(path)
    ranges = [
        tuple(int(edge, 16) for edge in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    assert all(
        any(start <= tensor.data_ptr() < end for start, end in ranges)
        for tensor in loaded.state_dict().values()
    )


def test_training_a_loaded_specialist_leaves_the_file(saved):
    _, path = saved
    before = path.read_bytes()
    loaded = load_specialist(path).train()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(torch.rand(2, 4, 16, 16)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(loaded.head.fc.weight, load_specialist(path).head.fc.weight)
    assert path.read_bytes() == before


def test_weights_that_are_not_finite_are_not_saved(saved):
    specialist, path = saved
    before = path.read_bytes()
    broken = deepcopy(specialist)
    broken.head.fc.bias.data[0] = float("nan")
    with pytest.raises(InputError, match=r"not finite: head\.fc\.bias"):
        save_weights(broken, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors is not a file"):
        load_specialist(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[: len(content) // 2],
        lambda content: content[:4],
        lambda content: b"",
        lambda content: struct.pack("<Q", 1 << 62) + content[8:],
        lambda content: struct.pack("<Q", 200_000_000) + content[8:],
        lambda content: content[:8] + b"[" + content[9:],
        lambda content: b"II*\0" + content[4:],
    ],
)
@pytest.mark.parametrize("read", [load_specialist, read_spec])
def test_damaged_files_are_refused_by_name(saved, damage, read):
    _, path = saved
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path.name} is not a whole safetensors file"):
        read(path)


def record_of(specialist, **changes):
    return {"format": 1, "spec": specialist.spec.to_dict() | changes}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (lambda s: None, r"metadata keys \[\]"),
        (lambda s: encode_header(s.spec) | {"more": "x"}, r"\['more', 'specialist'\]"),
        (lambda s: {"specialist": "{"}, "not JSON"),
        (lambda s: {"specialist": "[" * 100_000}, "not JSON"),
        (lambda s: {"specialist": "[]"}, "does not hold"),
        (lambda s: {"specialist": json.dumps({"format": 2, "spec": {}})}, "format 2"),
        (lambda s: {"specialist": json.dumps(record_of(s, std=[0, 1, 1, 1]))}, "std 0"),
        (lambda s: {"specialist": json.dumps(record_of(s, architecture="os.system"))}, "os.system"),
        (
            lambda s: {"specialist": json.dumps(record_of(s, classes=["a", "b"]))},
            r"head\.fc\..*\(2",
        ),
        (
            lambda s: {"specialist": json.dumps(record_of(s, head="pool"))},
            r"unexpected head\.norms",
        ),
        (
            lambda s: {"specialist": json.dumps(record_of(s, task="semantic-segmentation"))},
            "missing",
        ),
        (
            lambda s: {"specialist": json.dumps(record_of(s, architecture="convnextv2_femto"))},
            r"backbone\..*asks for",
        ),
    ],
)
def test_a_tampered_header_is_refused(saved, metadata, message):
    specialist, path = saved
    save_file(load_file(path), path, metadata=metadata(specialist))
    with pytest.raises(InputError, match=message) as refused:
        load_specialist(path)
    assert path.name in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.fc.bias"), r"missing head\.fc\.bias; unexpected none"),
        (lambda t: t.update(extra=torch.zeros(1)), "missing none; unexpected extra"),
        (lambda t: t.update({"head.fc.bias": torch.zeros(4)}), r"\(4,\), its spec .*\(3,\)"),
        (lambda t: t.update({"head.fc.bias": torch.zeros(3).half()}), "float16"),
        (lambda t: t["head.fc.bias"].fill_(float("inf")), r"not finite: head\.fc\.bias"),
    ],
)
def test_tampered_weights_are_refused(saved, change, message):
    specialist, path = saved
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata=encode_header(specialist.spec))
    with pytest.raises(InputError, match=message) as refused:
        load_specialist(path)
    assert path.name in str(refused.value)


def test_the_file_holds_what_is_learned_and_the_spec_the_rest(saved):
    _, path = saved
    assert {name.split(".")[0] for name in load_file(path)} == {"backbone", "head"}


def test_a_spec_is_read_without_weights(make_spec, tmp_path):
    spec = make_spec()
    path = tmp_path / "w.safetensors"
    save_file({"nothing": torch.zeros(1)}, path, metadata=encode_header(spec))
    assert read_spec(path) == spec


def test_a_specialist_in_training_can_be_saved(make_spec, tmp_path):
    built = build_specialist(make_spec(task="semantic-segmentation")).train()
    built(torch.rand(2, 4, 32, 32))
    save_weights(built, tmp_path / "new" / "w.safetensors")
    loaded = load_specialist(tmp_path / "new" / "w.safetensors")
    x_BCHW = torch.rand(1, 4, 32, 32)
    assert torch.equal(loaded(x_BCHW), built.eval()(x_BCHW))


def header_of(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])
