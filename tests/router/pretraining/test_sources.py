"""Sources of a pretraining: what is read, and statistics of all bands together."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from rasters.statistics import BandStatistics
from router import TrunkSpec
from router.pretraining.config import compose_trunk_config
from router.pretraining.sources import load_sources, merge_statistics, with_statistics
from sensors import Band, InputError, SarChannel

RED, NIR = Band("red", 0.665, 0.03), Band("nir", 0.842, 0.1)
ALSO_RED = Band("B04", 0.665, 0.035)
TRUNK = {"width": 32, "depth": 1, "num_heads": 2}


def statistics_of(band, values):
    return BandStatistics((band,), (values.mean(),), (values.std(),), (len(values),))


def test_a_band_of_several_sources_counts_by_pixels():
    random = np.random.default_rng(0)
    parts = random.normal(0.1, 0.02, 50), random.normal(0.3, 0.1, 500)
    bands = zip((RED, NIR, ALSO_RED), (parts[0], parts[0], parts[1]), strict=True)
    merged = merge_statistics([statistics_of(*pair) for pair in bands])
    assert merged.bands == (RED, NIR)
    whole = np.concatenate(parts)
    assert merged.mean == pytest.approx((whole.mean(), parts[0].mean()))
    assert merged.std == pytest.approx((whole.std(), parts[0].std()))
    assert merged.count == (550, 50)


def test_bands_without_a_valid_pixel_are_left_out():
    empty = BandStatistics((RED, NIR), (0.0, 0.2), (1.0, 0.1), (0, 9))
    assert merge_statistics([empty]).bands == (NIR,)
    assert merge_statistics([]).bands == ()


@pytest.fixture
def config_of(overrides, sources_dir):
    return lambda folder=sources_dir, **changes: compose_trunk_config(
        overrides(run_dir="x", **changes), folder
    )


def test_statistics_are_of_training_chips_and_known_bands_keep_theirs(config_of):
    sources = load_sources(config_of().sources, 256)
    vv = SarChannel("VV", "VV", 5.405)
    red = replace(sources[0].train.bands[2], name="red")
    known = TrunkSpec(**TRUNK, bands=(vv, red), mean=(-9.0, 0.5), std=(2.0, 0.3))
    spec = with_statistics(known, sources)
    assert [band.name for band in spec.bands] == ["VV", "red", "B02", "B03", "B08", "VH"]
    assert spec.mean[:2] == (-9.0, 0.5)
    train = sources[0].train
    pixels = torch.stack([train[number]["image"] for number in range(len(train))]).double()
    assert spec.mean[2] == pytest.approx(float(pixels[:, 0].mean()))
    assert spec.std[2] == pytest.approx(float(pixels[:, 0].std(correction=0)))


def test_the_selection_is_spread_and_the_test_split_not_among_the_chips(config_of):
    [config, _] = config_of().sources
    [whole], [few] = load_sources([config], 256), load_sources([config], 4)
    assert len(few.selection) == 4
    assert few.selection.ids[0] == whole.selection.ids[0]
    places = [whole.selection.ids.index(name) for name in few.selection.ids]
    assert max(np.diff(places)) <= len(whole.selection) // 4 + 1
    assert not set(whole.train.ids) & set(whole.selection.ids)
    assert len(whole.train) + len(whole.selection) < 30
    assert few.digest != whole.digest


def test_chips_of_the_test_split_are_never_opened(config_of, sources_dir, tmp_path):
    """With its pixels destroyed, everything is as before."""
    [config, _] = config_of().sources
    [source] = load_sources([config], 256)
    copied = shutil.copytree(sources_dir / "optical", tmp_path / "optical")
    used = {*source.train.ids, *source.selection.ids}
    unused = [path for path in copied.iterdir() if path.name not in used]
    assert unused
    for path in unused:
        path.write_bytes(b"not a picture")
    entry = f"[{{base: optical, train: {{images: '{copied}'}}}}]"
    [again] = load_sources(config_of(sources=entry).sources, 256)
    spec = TrunkSpec(**TRUNK)
    assert with_statistics(spec, [again]) == with_statistics(spec, [source])
    assert again.digest == source.digest


def test_an_empty_source_is_refused(config_of, sources_dir, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "none").mkdir()
    content = yaml.safe_load((sources_dir / "data" / "optical.yaml").read_text())
    content["train"]["images"] = str(tmp_path / "none")
    (tmp_path / "data" / "empty.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="none"):
        load_sources(config_of(tmp_path, sources="[empty]").sources, 256)
