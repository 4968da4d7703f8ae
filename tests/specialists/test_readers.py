"""Kinds of data that are not files of our own layout, from a configuration."""

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
