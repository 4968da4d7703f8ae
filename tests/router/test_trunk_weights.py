import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from router.trunk_weights import METADATA_KEY, load_trunk, read_trunk_spec, save_trunk
from sensors import InputError


@pytest.fixture
def trunk(make_trunk, all_bands):
    return make_trunk(bands=all_bands[:2], mean=(0.1, 0.3), std=(0.1, 0.2))


def test_a_saved_trunk_comes_back_and_gives_the_same_features(
    trunk, make_image, all_bands, tmp_path
):
    path = tmp_path / "trunk.safetensors"
    save_trunk(trunk, path)
    again = load_trunk(path)
    assert read_trunk_spec(path) == again.spec == trunk.spec
    assert not again.training
    x_BCHW = make_image()
    with torch.no_grad():
        wanted, features = trunk.embed(x_BCHW, all_bands), again.embed(x_BCHW, all_bands)
        assert torch.equal(features, wanted)
        order = [3, 5, 1, 0, 4, 2]
        permuted = again.embed(x_BCHW[:, order], [all_bands[place] for place in order])
    assert (permuted - wanted).norm() < 1e-5 * wanted.norm()
    first = path.read_bytes()
    save_trunk(again, path)
    assert path.read_bytes() == first
    with safe_open(path, "pt") as file:
        assert set(file.metadata()) == {METADATA_KEY}
    assert [entry.name for entry in tmp_path.iterdir()] == ["trunk.safetensors"]


def test_weights_that_are_not_finite_are_refused(trunk, tmp_path):
    path = tmp_path / "trunk.safetensors"
    save_trunk(trunk, path)
    with torch.no_grad():
        trunk.cls_token[0, 0, 3] = float("nan")
    with pytest.raises(InputError, match="not finite: cls_token"):
        save_trunk(trunk, tmp_path / "other.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["trunk.safetensors"]
    rewrite(path, lambda tensors, record: tensors["cls_token"].fill_(float("inf")))
    with pytest.raises(InputError, match="not finite: cls_token"):
        load_trunk(path)


def rewrite(path, change):
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()[METADATA_KEY])
    tensors = load_file(path)
    change(tensors, record)
    save_file(tensors, path, {METADATA_KEY: json.dumps(record)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, record: tensors.pop("cls_token"), "missing cls_token; unexpected none"),
        (lambda tensors, record: tensors.update(x=torch.ones(1)), "missing none; unexpected x"),
        (lambda tensors, record: record["spec"].update(width=64), r"float32 \(.*\) and should be"),
        (lambda tensors, record: record["spec"].update(depth=5), "missing blocks.4"),
        (lambda tensors, record: record["spec"].update(sar_convention="x"), "sar_convention 'x'"),
        (lambda tensors, record: record.update(format=2), "written in format 2"),
        (lambda tensors, record: record.pop("spec"), "does not hold a format and a spec"),
        (
            lambda tensors, record: tensors.update(cls_token=tensors["cls_token"].half()),
            "cls_token is float16",
        ),
    ],
)
def test_files_that_do_not_fit_their_spec_are_refused(trunk, tmp_path, change, message):
    path = tmp_path / "trunk.safetensors"
    save_trunk(trunk, path)
    rewrite(path, change)
    with pytest.raises(InputError, match=message):
        load_trunk(path)


def test_other_files_are_refused(trunk, tmp_path):
    path = tmp_path / "trunk.safetensors"
    with pytest.raises(InputError, match="is not a file"):
        load_trunk(path)
    save_trunk(trunk, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_trunk(path)
    save_file({"a": torch.ones(1)}, path, {"specialist": "{}"})
    with pytest.raises(InputError, match=r"metadata keys .'specialist'., expected.*'trunk'"):
        read_trunk_spec(path)
    save_file({"a": torch.ones(1)}, path, {METADATA_KEY: "{"})
    with pytest.raises(InputError, match="is not JSON"):
        read_trunk_spec(path)
