import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from timm.models import FeatureInfo

from evaluation.encoders import (
    DataContext,
    EncoderConfig,
    is_random,
    load_encoder,
    parse_encoder,
    wrap_encoder,
)
from rasters import ChipDataset
from registry import Registry
from sensors import InputError, MissingBandsError, load_sensor
from specialists import SpecialistSpec, build_specialist, load_specialist, save_weights
from specialists.floors import image_statistics

SENTINEL_2 = load_sensor("sentinel-2-l2a")
BANDS = SENTINEL_2.select("B02", "B03", "B04", "B08")
CONTEXT = DataContext(BANDS, (0.1, 0.2, 0.3, 0.4), (0.05, 0.06, 0.07, 0.08), 10.0, 32)
FLOORS = ("majority", "image-statistics", "random-convolution", "random:convnextv2_atto")
FAST = (*FLOORS, "timm:resnet10t", "torchgeo:resnet18")
SLOW = (
    "timm:vit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:vit_small_patch14_dinov2",
    "timm:efficientnet_b0",
    "torchgeo:vit_small_patch16_224",
    "torchgeo:swin_t",
    "torchgeo:swin_v2_t",
    "torchgeo:dofa_small_patch16_224",
)
SPEC = SpecialistSpec(
    task="scene-classification",
    bands=SENTINEL_2.select("B04", "B03", "B02"),
    classes=("land", "water"),
    mean=(0.1,) * 3,
    std=(0.1,) * 3,
    gsd=10.0,
    chip_size=32,
)


def make_images(size=(32, 32), bands=BANDS):
    generator = torch.Generator().manual_seed(1)
    x_BCHW = torch.rand(2, len(bands), *size, generator=generator) * 0.5
    valid = torch.rand(x_BCHW.shape, generator=generator) > 0.1
    return x_BCHW, valid


def load(source, context=CONTEXT, seed=0, **settings):
    return load_encoder(EncoderConfig(source, **settings), context, seed=seed)


def features_of(encoder, x_BCHW, bands, valid=None):
    with torch.inference_mode():
        return encoder.module.forward_features(x_BCHW, bands, valid)


@pytest.mark.parametrize(
    "source", [*FAST, *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)]
)
def test_every_encoder_keeps_the_contract(source):
    encoder = load(source)
    module = encoder.module
    assert not module.training
    assert not any(weight.requires_grad for weight in module.parameters())
    channels, reductions = module.feature_info.channels(), module.feature_info.reduction()
    assert list(reductions) == sorted(set(reductions))  # finest first, one level each
    assert module.num_features == channels[-1]
    x_BCHW, valid = make_images((30, 45))
    coarsest = reductions[-1]
    padded = [-(-edge // coarsest) * coarsest for edge in (30, 45)]
    levels = features_of(encoder, x_BCHW, BANDS, valid)
    assert [level.shape for level in levels] == [
        (2, c, padded[0] // r, padded[1] // r) for c, r in zip(channels, reductions, strict=True)
    ]
    assert all(level.isfinite().all() for level in levels)
    # Bands are found by what they measure, and further ones change nothing.
    more = (*BANDS[::-1], *load_sensor("sentinel-1-grd").channels)
    x_more = torch.cat([x_BCHW.flip(1), torch.zeros(2, 2, 30, 45)], dim=1)
    valid_more = torch.cat([valid.flip(1), torch.ones(2, 2, 30, 45, dtype=torch.bool)], dim=1)
    others = features_of(encoder, x_more, more, valid_more)
    torch.testing.assert_close(others, levels, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", FAST)
def test_invalid_pixels_have_no_influence(source):
    encoder = load(source)
    x_BCHW, valid = make_images()
    ruined = torch.where(valid, x_BCHW, torch.nan)
    levels = features_of(encoder, ruined, BANDS, valid)
    torch.testing.assert_close(levels, features_of(encoder, x_BCHW, BANDS, valid))


@pytest.mark.parametrize("source", FAST)
def test_the_seed_decides_random_weights_and_nothing_else(source):
    state = torch.get_rng_state()
    one, same, other = (load(source, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    x_BCHW, valid = make_images()
    levels = features_of(one, x_BCHW, BANDS, valid)
    assert one.digest == same.digest
    torch.testing.assert_close(levels, features_of(same, x_BCHW, BANDS, valid), rtol=0, atol=0)
    changed = any(
        not torch.equal(a, b)
        for a, b in zip(levels, features_of(other, x_BCHW, BANDS, valid), strict=True)
    )
    assert changed == (one.digest != other.digest) == is_random(EncoderConfig(source))


def test_the_digest_follows_everything_that_decides_the_features():
    source = "random:convnextv2_atto"
    others = [
        load(source, stem_stride=2),
        load(source, replace(CONTEXT, mean=(0.1, 0.2, 0.3, 0.5))),
        load(source, replace(CONTEXT, bands=BANDS[::-1])),
        load("timm:convnextv2_atto"),
        load("timm:convnextv2_atto", bands=["B02", "B03"]),
        load("timm:convnextv2_atto", bands=["B03", "B02"]),
    ]
    digests = {load(source).digest, *(encoder.digest for encoder in others)}
    assert len(digests) == 1 + len(others)
    assert load(source, name="another name").digest in digests


def test_names_and_floors():
    assert load("timm:resnet10t").name == "timm-resnet10t-random"
    assert load("random:convnextv2_atto").name == "random-convnextv2_atto"
    assert load("majority", name="always the same").name == "always the same"
    assert all(load(source).is_floor for source in FLOORS)
    assert not load("timm:resnet10t").is_floor
    assert load("timm:resnet10t", is_floor=True).is_floor


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "water" / "weights.safetensors"
    save_weights(build_specialist(SPEC), path)
    return path


def test_a_specialist_by_file_folder_and_name(saved, tmp_path):
    registry = Registry.open(tmp_path)
    specialist = load_specialist(saved)
    registry.add(specialist, name="s2-water", version="1.0.0")
    sources = (str(saved), str(saved.parent), "s2-water", "s2-water@1.0.0")
    found = [load_encoder(EncoderConfig(source), CONTEXT, registry=registry) for source in sources]
    assert [encoder.name for encoder in found] == ["water", "water", *sources[2:]]
    assert len({encoder.digest for encoder in found}) == 1
    assert {encoder.kind for encoder in found} == {"specialist"}
    assert found[0].bands == SPEC.bands
    assert not found[0].is_floor
    x_BCHW, valid = make_images()
    torch.testing.assert_close(
        features_of(found[0], x_BCHW, BANDS, valid),
        specialist.forward_features(x_BCHW, BANDS, valid),
    )


def test_only_the_backbone_of_a_specialist_is_its_encoder(saved):
    module = load(str(saved)).module
    whole = build_specialist(SPEC)
    count = sum(weight.numel() for weight in module.parameters())
    assert count == sum(weight.numel() for weight in whole.backbone.parameters())


def test_weights_of_a_timm_file_are_taken(tmp_path):
    torch.manual_seed(5)
    trained = timm.create_model("resnet10t", in_chans=3, num_classes=7)
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    settings = {"weights": str(tmp_path / "trained.safetensors"), "bands": ["B04", "B03", "B02"]}
    encoder = load("timm:resnet10t", **settings)
    assert encoder.name == "timm-resnet10t"
    assert encoder.bands == SENTINEL_2.select("B04", "B03", "B02")
    x_BCHW, valid = make_images()
    scaled = [(x_BCHW[:, k] - CONTEXT.mean[k]) / CONTEXT.std[k] for k in (2, 1, 0)]
    x_BKHW = torch.where(valid[:, [2, 1, 0]], torch.stack(scaled, 1), 0)
    with torch.inference_mode():
        expected = trained.eval().forward_features(x_BKHW)
    torch.testing.assert_close(features_of(encoder, x_BCHW, BANDS, valid)[-1], expected)


@pytest.mark.parametrize("source", ["timm:resnet18", "torchgeo:resnet18"])
def test_weights_that_do_not_fit_are_refused(source, tmp_path):
    missing = tmp_path / "missing.pth"
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), other)
    unsafe = tmp_path / "unsafe.pth"
    unsafe.write_bytes(pickle.dumps({"conv1.weight": Path("anything but a tensor")}, protocol=2))
    for file in (missing, other, unsafe):
        with pytest.raises(InputError, match=file.name):
            load(source, weights=str(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch16_224", "swin_v2_t"])
def test_weights_of_a_torchgeo_file_are_taken(name, tmp_path):
    source = f"torchgeo:{name}"
    trained = load(source, seed=9).module.network
    model = getattr(trained, "model", None)
    tensors = (
        model.state_dict()
        if model is not None
        else {f"features.{key}": value for key, value in trained.stages.state_dict().items()}
    )
    torch.save({**tensors, "head.weight": torch.zeros(2, 2)}, tmp_path / "trained.pth")
    encoder = load(source, weights=str(tmp_path / "trained.pth"))
    x_BCHW, valid = make_images()
    torch.testing.assert_close(
        features_of(encoder, x_BCHW, BANDS, valid),
        features_of(load(source, seed=9), x_BCHW, BANDS, valid),
    )
    with pytest.raises(InputError, match="name the bands"):
        load(source, weights=str(tmp_path / "trained.pth"), bands=["B02"])


@pytest.mark.slow
def test_dofa_at_its_own_size_is_torchgeos():
    encoder = load("torchgeo:dofa_small_patch16_224")
    x_BCHW, valid = make_images((224, 224))
    x_BKHW = encoder.module.normalize(x_BCHW, None, valid)
    model = encoder.module.model
    captured = []
    hook = model.fc_norm.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    with torch.inference_mode():
        model.forward_features(x_BKHW, [band.center_wavelength for band in BANDS])
        hook.remove()
        hook = model.fc_norm.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
        encoder.module.forward_features(x_BCHW, BANDS, valid)
        hook.remove()
    pooled_BD, tokens_BND = captured
    torch.testing.assert_close(tokens_BND.mean(1), pooled_BD)


@pytest.mark.slow
def test_dofa_sees_what_is_there_by_its_own_wavelength():
    encoder = load("torchgeo:dofa_small_patch16_224")
    x_BCHW, valid = make_images()
    some = features_of(encoder, x_BCHW[:, :2], BANDS[:2], valid[:, :2])
    assert not torch.allclose(some[0], features_of(encoder, x_BCHW, BANDS, valid)[0])
    landsat = load_sensor("landsat-8-c2-l2").select("SR_B2", "SR_B3")
    moved = features_of(encoder, x_BCHW[:, :2], landsat, valid[:, :2])
    assert not torch.allclose(some[0], moved[0])
    with pytest.raises(MissingBandsError):
        features_of(encoder, x_BCHW[:, :1], load_sensor("sentinel-1-grd").channels[:1])


def test_image_statistics_are_those_of_the_scaled_bands():
    encoder = load("image-statistics")
    x_BCHW, valid = make_images()
    valid[1, 2] = False
    vectors_BD = encoder.module.embed(x_BCHW, BANDS, valid).numpy()
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (CONTEXT.mean, CONTEXT.std))
    for image, mask, vector in zip(x_BCHW.numpy(), valid.numpy(), vectors_BD, strict=True):
        expected = image_statistics((image - mean) / std, mask)
        expected[1::5] -= 1
        np.testing.assert_allclose(vector, np.nan_to_num(expected), rtol=1e-4, atol=1e-5)
    assert not vectors_BD[1, 10:15].any()  # the band without a valid pixel is an average one


def test_random_convolutions_follow_their_definition():
    encoder = load("random-convolution")
    x_BCHW, _ = make_images()
    (level_BDHW,) = features_of(encoder, x_BCHW, BANDS)
    filters_FCKK = encoder.module.weight_FCKK
    x_BCHW = (x_BCHW - torch.tensor(CONTEXT.mean)[:, None, None]) / torch.tensor(CONTEXT.std)[
        :, None, None
    ]
    patch = x_BCHW[1, :, 7:14, 3:10]  # around the 4 x 4 pixels 8..11, 4..7
    values = [
        (filters_FCKK[20] * patch[:, r : r + 3, c : c + 3]).sum()
        for r in range(0, 4, 2)
        for c in range(0, 4, 2)
    ]
    response = torch.stack(values)
    up, down = (response - 1).relu().mean(), (-response - 1).relu().mean()
    torch.testing.assert_close(level_BDHW[1, 20, 2, 1], up, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(level_BDHW[1, 148, 2, 1], down, rtol=1e-4, atol=1e-5)


def test_a_missing_band_is_named():
    encoder = load("random:convnextv2_atto")
    x_BCHW, valid = make_images()
    with pytest.raises(MissingBandsError, match="B08"):
        features_of(encoder, x_BCHW[:, :3], BANDS[:3], valid[:, :3])


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("timm:resnet1000000", {}, "no model"),
        ("timm:", {}, "no model"),
        ("torchgeo:unet", {}, "torchgeo:resnet18"),
        ("random:resnet18", {}, "random:convnextv2_atto"),
        ("random", {}, "random:convnextv2_atto"),
        ("random:convnextv2_atto", {"stem_stride": 3}, "not 2 or 4"),
        ("majority", {"weights": "a.pth"}, "brings its own"),
        ("timm:resnet10t", {"bands": ["B99"]}, "its bands are B02, B03, B04, B08"),
        ("no/such/run", {}, "run folder"),
        ("no-such-specialist", {}, "no-such-specialist"),
        ("nothing.safetensors", {}, "not a file"),
    ],
)
def test_what_cannot_be_loaded_is_named(source, settings, message, tmp_path):
    registry = Registry.open(tmp_path)
    with pytest.raises(InputError, match=message):
        load_encoder(EncoderConfig(source, **settings), CONTEXT, registry=registry)


def test_configurations_are_read_from_text_and_settings():
    config = parse_encoder("timm:resnet18")
    assert config == EncoderConfig("timm:resnet18")
    assert parse_encoder(config) is config
    assert parse_encoder({"source": "majority", "name": "m"}) == EncoderConfig("majority", name="m")
    schema = OmegaConf.structured(EncoderConfig)
    merged = OmegaConf.merge(schema, {"source": "timm:resnet18", "bands": ["B02"]})
    assert OmegaConf.to_object(merged) == EncoderConfig("timm:resnet18", bands=["B02"])
    for entry in ("", {"name": "m"}, {"source": "majority", "colour": "red"}):
        with pytest.raises(InputError, match="expected a source"):
            parse_encoder(entry)


def test_the_context_is_that_of_the_training_chips(toy_data):
    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    context = DataContext.measure(chips, gsd=0.5)
    pixels_NCHW = np.stack([chips[number]["image"].numpy() for number in range(len(chips))])
    np.testing.assert_allclose(context.mean, pixels_NCHW.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(context.std, pixels_NCHW.std((0, 2, 3)), rtol=1e-5)
    assert (context.bands, context.gsd, context.chip_size) == (chips.bands, 0.5, 16)
    with pytest.raises(InputError, match=r"data\.gsd"):
        DataContext.measure(chips)


class Brightness(torch.nn.Module):
    """The smallest encoder there can be: one level, the mean of all bands."""

    feature_info = FeatureInfo([{"num_chs": 1, "reduction": 1, "module": "mean"}], (0,))
    num_features = 1

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def forward_features(self, x_BCHW, bands=None, valid=None):
        return [self.gain * x_BCHW.mean(1, keepdim=True)]


def test_a_network_of_ones_own_is_an_encoder():
    encoder = wrap_encoder("brightness", Brightness())
    assert (encoder.kind, encoder.bands, encoder.is_floor) == ("own", None, False)
    assert not encoder.module.gain.requires_grad
    x_BCHW, _ = make_images()
    torch.testing.assert_close(features_of(encoder, x_BCHW, BANDS)[0], x_BCHW.mean(1, keepdim=True))
    assert wrap_encoder("brightness", Brightness()).digest == encoder.digest
    assert wrap_encoder("brightness", Brightness(2.0)).digest != encoder.digest


def test_what_an_encoder_of_ones_own_lacks_is_named():
    with pytest.raises(InputError, match="Linear has no forward_features, feature_info"):
        wrap_encoder("linear", torch.nn.Linear(3, 3))


@pytest.mark.parametrize("own", [True, False])
def test_a_wavelength_stem_is_shown_all_bands_and_takes_what_it_knows(own, tmp_path):
    specialist = build_specialist(replace(SPEC, stem="wavelength"))
    save_weights(specialist, tmp_path / "any.safetensors")
    path = str(tmp_path / "any.safetensors")
    encoder = wrap_encoder("own", load_specialist(path)) if own else load(path)
    assert encoder.bands is None
    landsat = load_sensor("landsat-8-c2-l2").channels
    x_BCHW, valid = make_images(bands=landsat)
    levels = features_of(encoder, x_BCHW, landsat, valid)
    visible = slice(1, 4)  # what red, green and blue of Sentinel-2 are like
    same = features_of(encoder, x_BCHW[:, visible], landsat[visible], valid[:, visible])
    assert all(torch.equal(*pair) for pair in zip(levels, same, strict=True))
    with pytest.raises(MissingBandsError, match="ST_B10"):
        features_of(encoder, x_BCHW[:, -1:], landsat[-1:], valid[:, -1:])
