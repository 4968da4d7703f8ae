import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evaluation import _extraction
from evaluation.encoders import DataContext, EncoderConfig, load_encoder
from evaluation.features import Transform, extract_features
from rasters import ChipDataset
from sensors import InputError, MissingBandsError, load_sensor
from specialists.loading import collate


@pytest.fixture(scope="module")
def scenes(toy_data) -> ChipDataset:
    return ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial", cache=True)


@pytest.fixture(scope="module")
def masks(toy_data) -> ChipDataset:
    return ChipDataset.from_pairs(
        toy_data / "images",
        toy_data / "masks",
        sensor="rgb-aerial",
        classes=["dark", "bright"],
        groups={f"{number}.png": f"g{number % 2}" for number in range(6)},
    )


@pytest.fixture(scope="module")
def context(scenes) -> DataContext:
    return DataContext.measure(scenes, gsd=1.0)


@pytest.fixture(scope="module")
def encoder(context):
    return load_encoder(EncoderConfig("random:convnextv2_atto"), context)


class Faulty(nn.Module):
    """Forwards to an encoder, and does something else at one of its calls."""

    def __init__(self, module, at, action):
        super().__init__()
        self.module, self.at, self.action, self.calls = module, at, action, 0
        self.feature_info = module.feature_info

    def forward_features(self, x_BCHW, bands=None, valid=None):
        self.calls += 1
        levels = self.module.forward_features(x_BCHW, bands, valid)
        return self.action(levels) if self.calls == self.at else levels


def raise_interrupt(levels):
    raise KeyboardInterrupt


def spoil(value):
    def action(levels):
        levels[1][2, 0, 0, 0] = value
        return levels

    return action


def expected_levels(encoder, chips):
    batch = collate([chips[number] for number in range(len(chips))])
    with torch.inference_mode():
        return encoder.module.forward_features(batch["image"], chips.bands, batch["valid"])


def test_features_are_the_levels_and_their_summary(encoder, scenes, tmp_path):
    features = extract_features(encoder, scenes, cache=tmp_path, dense=True, batch_size=7)
    levels = [level.numpy() for level in expected_levels(encoder, scenes)]
    for level, expected in zip(features.levels, levels, strict=True):
        assert level.shape == expected.shape
        np.testing.assert_allclose(level[:], expected, rtol=1e-4, atol=1e-5)
    vectors = [level.mean((2, 3)) for level in levels] + [level.std((2, 3)) for level in levels]
    np.testing.assert_allclose(
        features.pool("pyramid"), np.concatenate(vectors, 1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(features.pool("last"), vectors[3], rtol=1e-4, atol=1e-5)
    for number in range(4):
        np.testing.assert_allclose(
            features.pooled_ND[:, features.columns[f"std/{number}"]],
            vectors[4 + number],
            rtol=1e-4,
            atol=1e-5,
        )
    assert features.pooled_ND.dtype == np.float32
    assert features.covered == (0.5, 0.5)  # chips of 16 pixels, a network that needs 32
    assert features.ids == scenes.ids
    assert features.targets.tolist() == [scenes[n]["label"].item() for n in range(len(scenes))]
    with pytest.raises(InputError, match="last, pyramid"):
        features.pool("max")


def test_an_encoders_own_vector_stands_for_both_poolings(context, scenes, tmp_path):
    statistics = load_encoder(EncoderConfig("image-statistics"), context)
    features = extract_features(statistics, scenes, cache=tmp_path)
    assert features.columns == {"embed": slice(0, 15)}
    assert features.levels is None
    assert features.pool("last").shape == features.pool("pyramid").shape == (36, 15)
    dense = extract_features(statistics, scenes, cache=tmp_path, dense=True)
    assert [level.shape for level in dense.levels] == [(36, 3, 16, 16)]
    np.testing.assert_array_equal(dense.pooled_ND, features.pooled_ND)


def test_targets_of_every_task(encoder, masks, toy_data, tmp_path):
    segments = extract_features(encoder, masks, cache=tmp_path, dense=True)
    assert segments.targets.dtype == np.uint8
    np.testing.assert_array_equal(segments.targets[3], masks[3]["mask"].numpy())
    assert segments.groups == masks.groups
    heights = ChipDataset.from_pairs(
        toy_data / "images",
        toy_data / "heights",
        sensor="rgb-aerial",
        classes=["height"],
        task="regression",
    )
    values = extract_features(encoder, heights, cache=tmp_path).targets
    assert values.shape == (6, 1, 32, 32)
    assert values.dtype == np.float32
    assert np.isnan(values[..., 0]).all()
    several = ChipDataset.from_table(
        toy_data / "labels.csv",
        label_column="labels",
        multi_label=True,
        group_column="place",
        sensor="rgb-aerial",
    )
    flags = extract_features(encoder, several, cache=tmp_path).targets
    assert flags.shape == (36, 5)
    assert flags.dtype == np.int64
    assert set(flags.sum(1)) == {1, 2}


def test_some_chips_in_another_order(encoder, masks, tmp_path):
    features = extract_features(encoder, masks, cache=tmp_path, dense=True)
    part = features.take([4, 1, 3]).take(np.array([2, 0]))
    assert part.ids == (masks.ids[3], masks.ids[4])
    assert part.groups == (masks.groups[3], masks.groups[4])
    assert len(part) == 2
    np.testing.assert_array_equal(part.pooled_ND, features.pooled_ND[[3, 4]])
    np.testing.assert_array_equal(part.targets, features.targets[[3, 4]])
    for level, whole in zip(part.levels, features.levels, strict=True):
        assert level.shape == (2, *whole.shape[1:])
        np.testing.assert_array_equal(level[[1]], whole[[4]])
        np.testing.assert_array_equal(np.asarray(level), whole[3:5])


def test_weights_of_members_are_kept(encoder, scenes, tmp_path):
    class Gated(Faulty):
        def gate_weights(self, x_BCHW, bands=None, valid=None):
            share_B = x_BCHW.mean((1, 2, 3))
            return {"water": share_B, "town": 1 - share_B}

    gated = replace(encoder, module=Gated(encoder.module, 0, None), digest="gated")
    features = extract_features(gated, scenes, cache=tmp_path, batch_size=8)
    means = np.array([scenes[number]["image"].mean() for number in range(len(scenes))])
    assert list(features.gate) == ["water", "town"]
    np.testing.assert_allclose(features.gate["water"], means, rtol=1e-5)
    np.testing.assert_allclose(features.take([5]).gate["town"], 1 - means[[5]], rtol=1e-5)


def test_features_are_computed_once_for_what_decides_them(encoder, scenes, tmp_path, toy_data):
    module = Faulty(encoder.module, 0, None)
    counted = replace(encoder, module=module)
    first = extract_features(counted, scenes, cache=tmp_path, batch_size=36)
    copied = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    again = extract_features(counted, copied, cache=tmp_path, batch_size=5)
    assert module.calls == 1
    assert again.key == first.key
    np.testing.assert_array_equal(again.pooled_ND, first.pooled_ND)
    others = [
        extract_features(counted, scenes.subset([0, 1]), cache=tmp_path),
        extract_features(replace(counted, digest="other"), scenes, cache=tmp_path),
        extract_features(counted, scenes, cache=tmp_path, dense=True),
        extract_features(counted, scenes, cache=tmp_path, transform=Transform(image_size=8)),
    ]
    assert len({first.key, *(other.key for other in others)}) == 1 + len(others)


def test_an_interrupted_extraction_goes_on_where_it_was(encoder, scenes, tmp_path):
    interrupted = Faulty(encoder.module, 4, raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract_features(
            replace(encoder, module=interrupted), scenes, cache=tmp_path, dense=True, batch_size=8
        )
    rest = Faulty(encoder.module, 0, None)
    features = extract_features(
        replace(encoder, module=rest), scenes, cache=tmp_path, dense=True, batch_size=8
    )
    assert rest.calls == 2  # 36 chips in batches of 8: three were done, 12 chips were left
    for level, expected in zip(features.levels, expected_levels(encoder, scenes), strict=True):
        np.testing.assert_allclose(level[:], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert features.targets.tolist() == [scenes[n]["label"].item() for n in range(len(scenes))]


_KILLED = """
import sys, time
from evaluation import _extraction
from evaluation.encoders import DataContext, EncoderConfig, load_encoder
from evaluation.features import extract_features
from pathlib import Path
from rasters import ChipDataset

_extraction._SECONDS_BETWEEN_RECORDS = 0.0
chips = ChipDataset.from_folders(sys.argv[1], sensor="rgb-aerial")
encoder = load_encoder(EncoderConfig("image-statistics"), DataContext.measure(chips, gsd=1.0))
answer = encoder.module.embed
def slowly(*inputs):
    time.sleep(0.2)
    return answer(*inputs)
encoder.module.embed = slowly
extract_features(encoder, chips, cache=Path(sys.argv[2]), batch_size=2)
"""


@pytest.mark.slow
def test_a_killed_extraction_goes_on_where_it_was(scenes, context, toy_data, tmp_path):
    command = [sys.executable, "-c", _KILLED, str(toy_data / "scenes"), str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ})
    try:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("*/record.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (record,) = tmp_path.glob("*/record.json")
    assert 0 < json.loads(record.read_text())["done"] < len(scenes)
    statistics = load_encoder(EncoderConfig("image-statistics"), context)
    features = extract_features(statistics, scenes, cache=tmp_path)
    assert features.key == record.parent.name
    whole = extract_features(statistics, scenes, cache=tmp_path / "other")
    np.testing.assert_allclose(features.pooled_ND, whole.pooled_ND, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_not_finite_are_refused(encoder, scenes, tmp_path, value):
    spoiled = Faulty(encoder.module, 2, spoil(value))
    broken = replace(encoder, module=spoiled, name="broken")
    with pytest.raises(InputError) as caught:
        extract_features(broken, scenes, cache=tmp_path, batch_size=8)
    assert "broken" in str(caught.value)
    assert scenes.ids[10] in str(caught.value)


def test_a_cache_of_another_format_says_what_to_delete(encoder, scenes, tmp_path):
    key = extract_features(encoder, scenes, cache=tmp_path).key
    record = tmp_path / key / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match=f"{key} holds features in format 99.*delete the folder"):
        extract_features(encoder, scenes, cache=tmp_path)


@pytest.mark.parametrize("damage", ["cut record", "no array", "cut array", "other shape"])
def test_a_damaged_cache_says_what_to_delete(encoder, scenes, tmp_path, damage):
    folder = tmp_path / extract_features(encoder, scenes, cache=tmp_path).key
    record, pooled = folder / "record.json", folder / "pooled.npy"
    match damage:
        case "cut record":
            record.write_text(record.read_text()[:100])
        case "no array":
            pooled.unlink()
        case "cut array":
            pooled.write_bytes(pooled.read_bytes()[:-100])
        case "other shape":
            np.save(pooled, np.zeros((3, 3), np.float32))
    with pytest.raises(
        InputError, match=f"{folder.name} holds damaged features.*delete the folder"
    ):
        extract_features(encoder, scenes, cache=tmp_path)


def test_missing_bands_are_refused_or_filled(encoder, scenes, tmp_path):
    without_red = Transform(drop_bands=("R",))
    with pytest.raises(MissingBandsError, match="R "):
        extract_features(encoder, scenes, cache=tmp_path, transform=without_red)
    filled = replace(without_red, fill_missing=True)
    features = extract_features(encoder, scenes, cache=tmp_path, transform=filled)
    batch = collate([scenes[number] for number in range(len(scenes))])
    valid = batch["valid"].clone()
    valid[:, 0] = False
    with torch.inference_mode():
        last = encoder.module.forward_features(batch["image"], scenes.bands, valid)[-1]
    np.testing.assert_allclose(features.pool("last"), last.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_without_any_band_there_are_no_features(scenes, context, tmp_path):
    radar = load_sensor("sentinel-1-grd").channels
    foreign = load_encoder(
        EncoderConfig("random:convnextv2_atto"),
        DataContext(radar, (-10.0,) * len(radar), (3.0,) * len(radar), 10.0, 16),
    )
    for fill in (False, True):
        with pytest.raises(MissingBandsError):
            extract_features(
                foreign, scenes, cache=tmp_path, transform=Transform(fill_missing=fill)
            )
    statistics = load_encoder(EncoderConfig("image-statistics"), context)
    for transform, message in (
        (Transform(drop_bands=("B99",)), "the data's bands are R, G, B"),
        (Transform(drop_bands=("R", "G", "B")), "leave one"),
    ):
        with pytest.raises(InputError, match=message):
            extract_features(statistics, scenes, cache=tmp_path, transform=transform)
    with pytest.raises(InputError, match="no chip"):
        extract_features(statistics, scenes.subset([]), cache=tmp_path)


def test_images_as_another_sensor_would_deliver_them(toy_data, tmp_path):
    bands = ["B02", "B03", "B04"]
    chips = ChipDataset.from_folders(
        toy_data / "scenes", sensor="sentinel-2-l2a", bands=bands, scale=1 / 255
    )
    statistics = load_encoder(EncoderConfig("image-statistics"), DataContext.measure(chips))
    as_landsat = Transform(as_sensor="landsat-8-c2-l2")
    features = extract_features(statistics, chips, cache=tmp_path, transform=as_landsat)
    own = extract_features(statistics, chips, cache=tmp_path)
    # Three bands that serve three bands: there and back again.
    np.testing.assert_allclose(features.pooled_ND, own.pooled_ND, rtol=1e-5)
    assert features.key != own.key


def test_resized_images_leave_out_what_is_invalid(context, toy_data, tmp_path):
    framed = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial", chip_size=24)
    statistics = load_encoder(EncoderConfig("image-statistics"), context)
    resized = Transform(image_size=48)
    features = extract_features(statistics, framed, cache=tmp_path, dense=True, transform=resized)
    own = extract_features(
        statistics,
        ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial"),
        cache=tmp_path,
    )
    assert features.levels[0].shape == (36, 3, 48, 48)
    means = features.pooled_ND[:, ::5]
    np.testing.assert_allclose(means, own.pooled_ND[:, ::5], atol=0.1)
    inside = np.zeros((48, 48), bool)
    inside[8:40, 8:40] = True
    assert not features.levels[0][0][:, ~inside].any()
    assert features.levels[0][0][:, inside].any(0).all()


def test_chips_of_different_sizes_need_resizing(encoder, toy_data, tmp_path):
    root = tmp_path / "mixed"
    shutil.copytree(toy_data / "scenes" / "field", root / "field")
    (root / "ramp").mkdir()
    shutil.copy(toy_data / "images" / "0.png", root / "ramp" / "0.png")
    chips = ChipDataset.from_folders(root, sensor="rgb-aerial")
    with pytest.raises(InputError, match="different sizes"):
        extract_features(encoder, chips, cache=tmp_path)
    features = extract_features(encoder, chips, cache=tmp_path, transform=Transform(image_size=16))
    assert len(features) == 13


@pytest.mark.slow
def test_worker_processes_give_the_same(encoder, scenes, toy_data, tmp_path):
    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    one = extract_features(encoder, chips, cache=tmp_path / "one", batch_size=8)
    other = extract_features(encoder, chips, cache=tmp_path / "other", batch_size=8, workers=2)
    np.testing.assert_array_equal(one.pooled_ND, other.pooled_ND)


def test_files_are_read_while_the_encoder_works(encoder, toy_data, tmp_path):
    started = []

    class Slow(Faulty):
        def forward_features(self, x_BCHW, bands=None, valid=None):
            before = len(started)
            time.sleep(0.1)
            self.action(len(started) - before)
            return super().forward_features(x_BCHW, bands, valid)

    class Watched(ChipDataset):
        def __getitem__(self, index):
            started.append(index)
            return super().__getitem__(index)

    watched = Watched.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    read_meanwhile = []
    slow = replace(encoder, module=Slow(encoder.module, 0, read_meanwhile.append))
    extract_features(slow, watched, cache=tmp_path, batch_size=6)
    assert sum(read_meanwhile) > 0
    assert len(started) == 36


def test_records_are_written_on_the_way(encoder, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(_extraction, "_SECONDS_BETWEEN_RECORDS", 0.0)
    seen = []

    class Looking(Faulty):
        def forward_features(self, x_BCHW, bands=None, valid=None):
            seen.extend(json.loads(f.read_text())["done"] for f in tmp_path.glob("*/record.json"))
            return super().forward_features(x_BCHW, bands, valid)

    looking = replace(encoder, module=Looking(encoder.module, 0, None))
    extract_features(looking, scenes, cache=tmp_path, batch_size=12)
    assert seen == [12, 24]
