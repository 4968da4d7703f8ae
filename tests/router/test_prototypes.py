"""Where chips lie in a trunk's space."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import yaml
from rasterio import Affine
from rasterio.crs import CRS
from torch.testing import assert_close

from rasters import ChipDataset, RasterImage, write_raster
from registry import Registry
from router.prototypes import compute_prototype, compute_run_prototype
from router.registering import register_trunk
from sensors import Band, InputError
from specialists.data import ChipsConfig, DataConfig, load_splits

SHA = "ab" * 32
UTM = CRS.from_epsg(32633)
RED, NIR = Band("red", 0.665, 0.03, gsd=10), Band("nir", 0.842, 0.1, gsd=10)


@pytest.fixture
def write_chips(tmp_path):
    """Chips of two bands from arrays; NaN is no data."""

    def write(*chips) -> ChipDataset:
        folder = tmp_path / f"chips-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for number, pixels_CHW in enumerate(chips):
            valid = np.isfinite(pixels_CHW)
            pixels_CHW = np.where(valid, pixels_CHW, 0).astype(np.float32)
            image = RasterImage(pixels_CHW, valid, (RED, NIR), Affine.scale(10, -10), UTM)
            write_raster(folder / f"{number:03}.tif", image)
        return ChipDataset.from_images(folder)

    return write


def draw(number=7, size=32):
    generator = np.random.default_rng(number + 100 * size)
    return [generator.uniform(0.05, 0.5, (2, size, size)) for _ in range(number)]


def embed(trunk, images, bands=(RED, NIR)):
    x_BCHW = torch.tensor(np.stack(images), dtype=torch.float32)
    with torch.inference_mode():
        return trunk.embed(x_BCHW, bands).double()


def test_it_is_mean_and_spread_of_the_embeddings(make_trunk, write_chips):
    trunk, images = make_trunk(), draw()

    found = compute_prototype(trunk, SHA, write_chips(*images), image_size=None, batch_size=3)

    wanted_ND = embed(trunk, images)
    assert (found.trunk, found.chips) == (SHA, 7)
    assert_close(torch.tensor(found.mean).double(), wanted_ND.mean(0), rtol=1e-4, atol=1e-5)
    assert_close(
        torch.tensor(found.std).double(), wanted_ND.std(0, correction=0), rtol=1e-4, atol=1e-5
    )
    assert min(found.std) > 0


def test_batches_make_no_difference_and_sizes_may_differ(make_trunk, write_chips):
    trunk, chips = make_trunk(), write_chips(*draw(3), *draw(4, 24), *draw(2, 40))
    for image_size in (64, None):
        found = [
            compute_prototype(trunk, SHA, chips, image_size=image_size, batch_size=size)
            for size in (1, 64)
        ]
        assert found[0].chips == 9
        assert_close(found[0].mean, found[1].mean, rtol=1e-4, atol=1e-5)


def test_the_image_size_decides_what_the_trunk_sees(make_trunk, write_chips):
    seen = []
    trunk = make_trunk()
    trunk.patch_embed.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[-2:]))
    compute_prototype(trunk, SHA, write_chips(*draw(2)))
    compute_prototype(trunk, SHA, write_chips(*draw(2)), image_size=16)
    assert seen == [(64, 64), (16, 16)]


def test_chips_are_spread_over_the_data_set(make_trunk, write_chips):
    trunk, images = make_trunk(), draw(10)

    found = compute_prototype(trunk, SHA, write_chips(*images), image_size=None, limit=4)

    assert found.chips == 4
    wanted_ND = embed(trunk, [images[number] for number in (0, 2, 5, 7)])
    assert_close(torch.tensor(found.mean).double(), wanted_ND.mean(0), rtol=1e-4, atol=1e-5)


def test_what_was_not_measured_does_not_count(make_trunk, write_chips):
    trunk, images = make_trunk(), draw(3)
    images[1][1] = np.nan  # a band that is not there
    images[2][:] = np.nan  # nothing is

    found = compute_prototype(trunk, SHA, write_chips(*images), image_size=None)

    assert found.chips == 2
    one_D, other_D = embed(trunk, images[:1])[0], embed(trunk, [images[1][:1]], (RED,))[0]
    wanted_D = (one_D + other_D) / 2
    assert_close(torch.tensor(found.mean).double(), wanted_D, rtol=1e-4, atol=1e-5)

    with pytest.raises(InputError, match="none of 1 chips has a valid pixel"):
        compute_prototype(trunk, SHA, write_chips(images[2]))
    with pytest.raises(InputError, match="chips 0 is not 1 or more"):
        compute_prototype(trunk, SHA, write_chips(*images), limit=0)


@pytest.fixture
def registry(tmp_path, make_trunk):
    registry = Registry.open(tmp_path / "registry")
    register_trunk(registry, make_trunk(), name="eye", version="1.0.0", license="MIT")
    return registry


@pytest.fixture
def run(tmp_path, toy_data):
    """What a run has left behind, as far as a prototype needs it, and its data."""
    data = DataConfig(
        name="toy",
        title="Toy",
        licence="CC0-1.0",
        source="made",
        kind="folders",
        train=ChipsConfig(folder=str(toy_data / "scenes")),
        sensor="rgb-aerial",
        gsd=1.0,
    )
    folder = tmp_path / "run"
    folder.mkdir()
    splits = load_splits(data)
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "a", "data": asdict(data)}))
    record = {"data": {"split_hash": splits.digest()}}
    (folder / "training.json").write_text(json.dumps(record))
    return folder, splits


def test_a_run_says_where_its_training_chips_are(run, registry, make_trunk):
    folder, splits = run

    found = compute_run_prototype(folder, "eye", registry, limit=10)

    sha256 = registry.card("eye").sha256
    wanted = compute_prototype(make_trunk(), sha256, splits.chips["train"], limit=10)
    assert found == wanted
    assert found.chips == 10


def test_data_that_are_gone_or_others_are_refused(run, registry):
    folder, _ = run
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "training.json").write_text(json.dumps({"data": {"split_hash": "0" * 64}}))
    with pytest.raises(InputError, match="have changed since"):
        compute_run_prototype(folder, "eye", registry)

    config["data"]["train"]["folder"] = str(folder / "gone")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"needs the training data of .*gone"):
        compute_run_prototype(folder, "eye", registry)

    for text in ("data: [", "data: {cook: 1}", "name: a", "- 1"):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml"):
            compute_run_prototype(folder, "eye", registry)
    with pytest.raises(InputError, match="register-specialist RUN"):
        compute_run_prototype(folder, "dofa-nano", registry)
