"""Images and chips as another sensor would deliver them."""

import numpy as np
import pytest
import torch

from rasters import ChipDataset, see_as
from rasters.sensing import as_sensor, sensor_channels
from sensors import BandPlan, InputError, MissingBandsError, load_sensor

SENTINEL_2 = load_sensor("sentinel-2-l2a")
RGBN = SENTINEL_2.select("B02", "B03", "B04", "B08")


def make_stack(bands):
    torch.manual_seed(0)
    x = torch.rand(2, len(bands), 5, 6)
    return x, x > 0.2


def test_another_sensor_delivers_its_own_bands():
    x, valid = make_stack(RGBN)
    pixels, bands, is_valid = as_sensor(x, RGBN, valid, "landsat-8-c2-l2")
    names = [band.name for band in bands]
    assert {"SR_B2", "SR_B3", "SR_B4", "SR_B5"} <= set(names)
    assert "SR_B6" not in names  # short-wave infrared, which no given band serves
    plan = BandPlan.match(bands, RGBN)
    assert torch.equal(pixels, plan.apply(x))
    assert torch.equal(is_valid, plan.apply_valid(valid))
    assert bands == sensor_channels(RGBN, "landsat-8-c2-l2")


def test_a_sensor_of_another_kind_is_refused():
    x, valid = make_stack(RGBN)
    with pytest.raises(MissingBandsError, match="none of the bands of sentinel-1-grd"):
        as_sensor(x, RGBN, valid, "sentinel-1-grd")
    with pytest.raises(InputError, match="no sensor"):
        as_sensor(x, RGBN, valid, "sentinel-99")


@pytest.fixture
def chips(write_file, digital_numbers):
    names = ["B02", "B03", "B04", "B08", "B11"]
    for number in range(3):
        pixels = digital_numbers(5, 6, 7) + number
        pixels[number, 0, 0] = 0  # no data
        write_file(f"images/{number}.tif", pixels, descriptions=names)
        write_file(f"masks/{number}.tif", np.full((6, 7), number % 2, np.uint8))
    folder = write_file("masks/2.tif", np.ones((6, 7), np.uint8)).parents[1]
    return ChipDataset.from_pairs(
        folder / "images",
        folder / "masks",
        classes=["land", "water"],
        sensor="sentinel-2-l2a",
        cache=True,
    )


def test_chips_of_another_sensor_keep_all_but_their_bands(chips):
    seen = see_as(chips, "landsat-8-c2-l2")
    assert seen.bands == sensor_channels(chips.bands, "landsat-8-c2-l2") != chips.bands
    assert (seen.ids, seen.groups, seen.task) == (chips.ids, chips.groups, chips.task)
    assert (seen.classes, seen.multi_label) == (chips.classes, chips.multi_label)
    np.testing.assert_array_equal(seen.locations, chips.locations)
    assert seen.content_digest() != chips.content_digest()
    plan = BandPlan.match(seen.bands, chips.bands)
    for own, other in zip(chips, seen, strict=True):
        assert torch.equal(other["valid"], plan.apply_valid(own["valid"]))
        is_valid = other["valid"]
        assert torch.equal(other["image"][is_valid], plan.apply(own["image"])[is_valid])
        assert not other["image"][~is_valid].any()
        assert torch.equal(other["mask"], own["mask"])
    assert not seen[0]["valid"].all()


def test_a_part_of_the_chips_is_seen_as_a_part(chips):
    part = see_as(chips.subset([2, 0]), "landsat-8-c2-l2")
    assert part.ids == ("2.tif", "0.tif")
    whole = see_as(chips, "landsat-8-c2-l2")
    assert torch.equal(part[1]["image"], whole[0]["image"])
    assert torch.equal(part.target(0), chips[2]["mask"])
    assert chips[0]["image"].shape[0] == 5


def test_chips_without_a_band_of_the_sensor_are_refused(chips):
    with pytest.raises(MissingBandsError, match="none of the bands of sentinel-1-grd"):
        see_as(chips, "sentinel-1-grd")
    with pytest.raises(InputError, match="no sensor"):
        see_as(chips, "sentinel-99")
