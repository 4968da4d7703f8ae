"""Kinds of data that are not files of our own layout, from a configuration."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from sensors import InputError
from specialists.config import compose_config
from specialists.data import load_splits


@pytest.fixture
def eurosat(tmp_path):
    """Two chips a split in the layout of TorchGeo's `EuroSAT100`."""
    pytest.importorskip("torchgeo.datasets")
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "count": 13, "height": 8, "width": 8, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(500000, 5800000, 10, 10)}
    for number, split in enumerate(["train", "val", "test"]):
        lines = []
        for name in ("Forest", "River"):
            folder = tmp_path / "ds/images/remote_sensing/otherDatasets/sentinel_2/tif" / name
            folder.mkdir(parents=True, exist_ok=True)
            with rasterio.open(folder / f"{name}_{number}.tif", "w", **profile) as file:
                file.write(rng.integers(200, 4000, (13, 8, 8)).astype(np.uint16))
            lines.append(f"{name}_{number}.jpg\n")
        (tmp_path / f"eurosat-100-{split}.txt").write_text("".join(lines))
    return tmp_path


def test_splits_of_a_torchgeo_data_set(eurosat):
    config = compose_config(
        [
            "data=torchgeo",
            "data.torchgeo.name=EuroSAT100",
            f"data.root={eurosat}",
            "data.sensor=sentinel-2-l1c",
            "data.drop_bands=[B10]",
        ]
    )
    chips = load_splits(config.data).chips
    ids = {name: part.ids for name, part in chips.items()}
    assert ids == {
        "train": ("train/000000", "train/000001"),
        "selection": ("val/000000", "val/000001"),
        "test": ("test/000000", "test/000001"),
    }
    assert len(chips["train"].bands) == 12
    assert chips["train"].classes == chips["test"].classes == ("Forest", "River")


def test_a_torchgeo_data_set_needs_a_name():
    with pytest.raises(InputError, match=r"data\.torchgeo\.name"):
        load_splits(compose_config(["data=torchgeo", "data.sensor=naip"]).data)


def test_bigearthnet_in_a_tortilla_is_bigearthnet_in_folders(shared_data, tmp_path, pack_tortilla):
    """Real chips, packed as GEO-Bench-2 packs them."""
    split_of = {"train": "train", "validation": "test"}
    items = []
    for folder in sorted((shared_data / "bigearthnet_v2").glob("*/*")):
        files = [(name, folder / f"{name}.tif") for name in ("s1", "s2")]
        if files[0][1].is_file():
            content = pack_tortilla(
                [(name, "GTiff", file.read_bytes(), {}) for name, file in files]
            )
            labels = json.loads((folder / "meta.json").read_text())["labels"]
            columns = {"tortilla:data_split": split_of[folder.parent.name], "labels": labels}
            items.append((folder.name, "TORTILLA", content, columns))
    items[0][3]["tortilla:data_split"] = "validation"
    (tmp_path / "geobench_benv2.tortilla").write_bytes(pack_tortilla(items))
    packed = load_splits(compose_config(["data=geobench_benv2", f"data.root={tmp_path}"]).data)
    folders = load_splits(compose_config(["data=bigearthnet_s2", f"data.root={shared_data}"]).data)
    assert packed.chips["train"].classes == folders.chips["train"].classes
    assert packed.chips["train"].bands == folders.chips["train"].bands
    assert len(packed.chips["test"]) == 4
    same = dict(zip(folders.chips["test"].ids, folders.chips["test"], strict=True))
    for id_, chip in zip(packed.chips["test"].ids, packed.chips["test"], strict=True):
        expected = same[id_.split("/")[1]]
        assert all(chip[key].equal(expected[key]) for key in ("image", "valid", "label"))
