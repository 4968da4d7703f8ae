from dataclasses import replace

import pytest
import torch

from evaluation.bands import serve
from evaluation.efficiency import measure_efficiency
from evaluation.encoders import DataContext, EncoderConfig, is_random, load_encoder
from evaluation.features import extract_features
from evaluation.lineup import FLOORS, line_up
from rasters import ChipDataset
from registry import Registry
from router import TrunkSpec, build_trunk, load_trunk, save_trunk
from sensors import InputError, MissingBandsError, load_sensor

SENTINEL_2 = load_sensor("sentinel-2-l2a")
BANDS = SENTINEL_2.select("B02", "B03", "B04", "B08")
CONTEXT = DataContext(BANDS, (0.1, 0.2, 0.3, 0.4), (0.05, 0.06, 0.07, 0.08), 10.0, 32)
SPEC = TrunkSpec(
    width=32, depth=2, num_heads=2, patch_size=8, image_size=32, generator_hidden_size=32
)
KNOWN = replace(SPEC, bands=BANDS[:2], mean=(0.2, 0.3), std=(0.1, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    torch.manual_seed(7)
    save_trunk(build_trunk(KNOWN), path / "known.safetensors")
    save_trunk(build_trunk(SPEC), path / "blank.safetensors")
    (path / "run").mkdir()
    (path / "run" / "weights.safetensors").write_bytes((path / "known.safetensors").read_bytes())
    return path


@pytest.fixture(scope="module")
def known(folder):
    return f"trunk:{folder / 'known.safetensors'}"


def load(source, context=CONTEXT, seed=0, **settings):
    return load_encoder(EncoderConfig(source, **settings), context, seed=seed)


def make_images(height=32, width=32):
    generator = torch.Generator().manual_seed(1)
    x_BCHW = torch.rand(2, len(BANDS), height, width, generator=generator) * 0.5
    return x_BCHW, torch.rand(x_BCHW.shape, generator=generator) > 0.1


def embed(encoder, *inputs):
    with torch.inference_mode():
        return encoder.module.embed(*inputs)


def test_its_features_are_the_trunks(folder, known):
    encoder = load(known)
    trunk = load_trunk(folder / "known.safetensors")
    trunk.set_statistics(BANDS, (0.2, 0.3, *CONTEXT.mean[2:]), (0.1, 0.1, *CONTEXT.std[2:]))
    x_BCHW, valid = make_images()
    assert torch.equal(embed(encoder, x_BCHW, BANDS, valid), trunk.embed(x_BCHW, BANDS, valid))
    levels = encoder.module.forward_features(x_BCHW, BANDS, valid)
    torch.testing.assert_close(levels, trunk.forward_features(x_BCHW, BANDS, valid))
    assert [level.shape[1] for level in levels] == encoder.module.feature_info.channels()
    assert encoder.module.num_features == 32
    assert not any(weight.requires_grad for weight in encoder.module.parameters())


def test_it_is_found_by_file_and_by_run_folder(folder, known):
    by_folder = load(f"trunk:{folder / 'run'}")
    assert (by_folder.name, by_folder.kind, by_folder.is_floor) == ("run", "trunk", False)
    assert load(known).name == "known"
    assert load(known).digest == by_folder.digest


def test_any_bands_or_those_that_are_named(known):
    x_BCHW, valid = make_images()
    free, few = load(known), load(known, bands=["B04", "B02"])
    assert free.bands is None
    assert few.bands == SENTINEL_2.select("B04", "B02")
    chosen = embed(few, x_BCHW, BANDS, valid)
    torch.testing.assert_close(chosen, embed(free, x_BCHW[:, [2, 0]], few.bands, valid[:, [2, 0]]))
    assert not torch.allclose(chosen, embed(free, x_BCHW, BANDS, valid))
    radar = load_sensor("sentinel-1-grd").channels[:2]
    assert embed(free, x_BCHW[:, :2] - 10, radar).isfinite().all()
    with pytest.raises(MissingBandsError, match="B04"):
        embed(few, x_BCHW[:, :2], BANDS[:2], valid[:, :2])
    served = serve(x_BCHW[:, :2], BANDS[:2], valid[:, :2], few.bands)
    assert embed(few, *served).isfinite().all()


def test_pixels_that_cannot_be_used_have_no_influence(known):
    x_BCHW, valid = make_images(30, 30)
    expected = embed(load(known), x_BCHW, BANDS, valid)
    ruined = torch.where(valid, x_BCHW, torch.nan)
    torch.testing.assert_close(embed(load(known), ruined, BANDS, valid), expected)
    torch.testing.assert_close(embed(load(known), ruined, BANDS), expected)


def test_images_grow_to_whole_patches_or_to_the_size_asked_for(known):
    encoder = load(known)
    flat = torch.full((1, 4, 30, 45), 0.3)
    whole = torch.full((1, 4, 32, 48), 0.3)
    torch.testing.assert_close(embed(encoder, flat, BANDS), embed(encoder, whole, BANDS))
    levels = encoder.module.forward_features(flat, BANDS)
    steps = encoder.module.feature_info.reduction()
    assert [level.shape[-2:] for level in levels] == [(32 // r, 48 // r) for r in steps]
    x_BCHW, valid = make_images(16, 16)
    large = load(known, image_size=64)
    assert large.module.forward_features(x_BCHW, BANDS, valid)[-1].shape[-2:] == (4, 4)
    assert not torch.allclose(embed(large, x_BCHW, BANDS), embed(encoder, x_BCHW, BANDS))
    with pytest.raises(InputError, match="24 x 24 and 32 x 32 fit"):
        load(known, image_size=30)


def test_statistics_of_bands_it_does_not_know_come_from_the_training_split(folder, known):
    blank = load(f"trunk:{folder / 'blank.safetensors'}").module.trunk
    assert (blank.spec.bands, blank.spec.mean, blank.spec.std) == (
        BANDS,
        CONTEXT.mean,
        CONTEXT.std,
    )
    learned = load(known).module.trunk
    assert learned.spec.bands == BANDS
    assert learned.spec.mean == (*KNOWN.mean, *CONTEXT.mean[2:])
    assert learned.scaling.statistics(BANDS[3]) == (CONTEXT.mean[3], CONTEXT.std[3])
    assert learned.scaling.statistics(BANDS[0]) == (KNOWN.mean[0], KNOWN.std[0])


def test_the_digest_follows_weights_spec_bands_and_size(folder, known):
    blank = f"trunk:{folder / 'blank.safetensors'}"
    moved = replace(CONTEXT, mean=(0.1, 0.2, 0.3, 0.5))
    elsewhere = replace(CONTEXT, mean=(0.5, 0.5, 0.3, 0.4))  # differs in bands it knows
    different = [
        load(known),
        load(known, bands=["B02", "B03"]),
        load(known, bands=["B03", "B02"]),
        load(known, image_size=32),
        load(blank),
        load(blank, moved),
        load(known, moved),
        load(f"random:{folder / 'known.safetensors'}", seed=1),
        load(f"random:{folder / 'known.safetensors'}", seed=2),
    ]
    assert len({encoder.digest for encoder in different}) == len(different)
    assert load(known, elsewhere, seed=1, name="another").digest == different[0].digest


def test_a_named_size_is_one_of_random_weights():
    encoder = load("trunk:dofa-nano")
    assert (encoder.kind, encoder.name, encoder.is_floor) == ("random", "random-dofa-nano", True)
    assert is_random(EncoderConfig("trunk:dofa-nano"))
    assert encoder.digest == load("random:dofa-nano").digest
    assert encoder.digest != load("random:dofa-nano", seed=1).digest
    assert "random weights" in encoder.description


def test_a_trunk_comes_with_its_random_twin(folder, known, tmp_path):
    entry = {"source": known, "name": "rgb", "bands": ["B04", "B03", "B02"], "image_size": 64}
    registry = Registry.open(tmp_path)
    chosen = line_up([known, entry], BANDS, registry, floors=True)
    random = f"random:{folder / 'known.safetensors'}"
    assert [config.source for config in chosen[2:]] == [*FLOORS, random, random]
    assert [config.name for config in chosen[-2:]] == ["known-random", "rgb-random"]
    assert (chosen[-1].bands, chosen[-1].image_size) == (entry["bands"], 64)
    loaded = load_encoder(chosen[-1], CONTEXT)
    assert (loaded.is_floor, loaded.module.trunk.spec) == (True, load(known).module.trunk.spec)
    assert not line_up(["trunk:dofa-nano"], BANDS, registry, floors=True)[4:]


def test_features_are_extracted_with_maps_that_cover_the_image(known, toy_data, tmp_path):
    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    context = DataContext.measure(chips, gsd=1.0)
    encoder = load(known, context, image_size=24)  # three patches: the trunk adds a fourth
    features = extract_features(encoder, chips, cache=tmp_path, dense=True)
    assert features.pooled_ND.shape == (len(chips), 32)
    assert features.levels[-1].shape[-2:] == (2, 2)
    assert features.covered == (0.75, 0.75)
    chip = chips[1]
    expected = embed(encoder, chip["image"][None], chips.bands, chip["valid"][None])[0]
    torch.testing.assert_close(torch.tensor(features.pooled_ND[1]), expected, rtol=1e-4, atol=1e-5)


def test_its_cost_is_that_of_the_images_it_gets(known):
    options = {"batch_size": 2, "energy_seconds": 0, "memory": False}
    small = measure_efficiency(EncoderConfig(known), CONTEXT, **options)
    large = measure_efficiency(EncoderConfig(known, image_size=64), CONTEXT, **options)
    more_tokens = 64 - 16
    assert large.macs - small.macs > 12 * SPEC.width**2 * SPEC.depth * more_tokens
    assert small.training_images_per_second > 0


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("trunk:no/such/run", {}, "no trunk at 'no/such/run'.*dofa-nano"),
        ("trunk:nothing.safetensors", {}, "nothing.safetensors"),
        ("trunk:nothing.pth", {}, "nothing.pth"),
        ("trunk:dofa-nano", {"weights": "a.pth"}, "weights cannot be set"),
        ("trunk:dofa-nano", {"bands": ["B99"]}, "its bands are B02"),
        ("random:convnextv2_atto", {"image_size": 64}, "image_size cannot be set"),
        ("random:dofa-tiny", {}, "random:dofa-nano"),
        ("timm:resnet10t", {"image_size": 64}, "image_size cannot be set"),
    ],
)
def test_what_cannot_be_loaded_is_named(source, settings, message):
    with pytest.raises(InputError, match=message):
        load(source, **settings)
