"""Specialists with a wavelength-conditioned stem.

Tensor shapes: B batch, C channels, H rows, W columns.
"""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import Band, InputError, MissingBandsError, load_sensor
from specialists import (
    build_specialist,
    count_macs,
    count_parameters,
    load_backbone,
    load_specialist,
    save_weights,
)
from specialists.compiled import compile_specialist, load_compiled
from specialists.slimming import slim

TASKS = {
    "scene": {"task": "scene-classification"},
    "pool": {"task": "scene-classification", "head": "pool", "stem_stride": 2},
    "unet": {"task": "semantic-segmentation"},
    "fpn": {"task": "semantic-segmentation", "decoder": "fpn", "stem_stride": 2},
    "linear": {"task": "semantic-segmentation", "decoder": "linear"},
    "backbone": {"task": "similarity-search", "classes": ()},
}
S2 = load_sensor("sentinel-2-l2a").channels
L8 = load_sensor("landsat-8-c2-l2").channels
# Not like one of BANDS in the fixtures.
STRANGERS = (Band("cirrus", 1.375, 0.03), Band("thermal", 10.9, 0.6, quantity="temperature"))


@pytest.fixture
def get(get_specialist):
    return lambda task="unet", **changes: get_specialist(stem="wavelength", **TASKS[task] | changes)


def image(bands, height=24, width=20, batch=2):
    generator = torch.Generator().manual_seed(len(bands))
    return torch.rand(batch, len(bands), height, width, generator=generator) * 0.4


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 1)])
def test_outputs_and_features_are_those_of_a_fixed_stem(get, get_specialist, task, size):
    specialist, fixed = get(task), get_specialist(**TASKS[task])
    x_BCHW = image(specialist.bands, *size)
    levels, outputs = specialist.forward_all(x_BCHW)
    wanted_levels, wanted = fixed.forward_all(x_BCHW)
    assert outputs.shape == wanted.shape
    assert [level.shape for level in levels] == [level.shape for level in wanted_levels]
    assert specialist.feature_info.channels() == fixed.feature_info.channels()
    assert specialist.feature_info.reduction() == fixed.feature_info.reduction()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_order_of_bands_and_unknown_bands_change_nothing(get_specialist, data):
    specialist = get_specialist(stem="wavelength", **TASKS["unet"])
    known = data.draw(st.permutations(specialist.bands))[: data.draw(st.integers(1, 4))]
    bands = (*known, *data.draw(st.sets(st.sampled_from(STRANGERS))))
    x_BCHW = image(bands, 9, 9)
    valid = x_BCHW > 0.1
    expected = specialist(x_BCHW[:, : len(known)], known, valid[:, : len(known)])
    order = data.draw(st.permutations(range(len(bands))))
    given_bands = [bands[number] for number in order]
    assert torch.equal(specialist(x_BCHW[:, order], given_bands, valid[:, order]), expected)


@pytest.mark.parametrize("task", TASKS)
def test_no_weight_depends_on_the_bands(make_spec, task):
    shapes = [
        {
            name: tuple(weight.shape)
            for name, weight in build_specialist(
                make_spec(bands=bands, stem="wavelength", **TASKS[task])
            )
            .state_dict()
            .items()
        }
        for bands in (S2, S2[:1])
    ]
    assert shapes[0] == shapes[1]


def test_own_bands_need_not_be_said(get):
    specialist = get()
    x_BCHW = image(specialist.bands)
    assert torch.equal(specialist(x_BCHW), specialist(x_BCHW, specialist.bands))


def test_a_band_is_scaled_by_the_known_one_that_it_is_like(make_spec):
    mean, std = tuple(range(len(S2))), tuple(range(1, len(S2) + 1))
    spec = make_spec(bands=S2, mean=mean, std=std, stem="wavelength")
    x_BCHW = image(L8)
    normalized = build_specialist(spec).normalize(x_BCHW, L8)
    for number, known in enumerate([0, 1, 2, 3, 8, 10, 11]):  # without the thermal band
        expected = (x_BCHW[:, number] - mean[known]) / std[known]
        torch.testing.assert_close(normalized[:, number], expected)
    assert normalized.shape[1] == 7


def test_a_band_enters_by_its_own_wavelength(get):
    specialist = get()
    known = specialist.bands[1]
    near = Band("near", known.center_wavelength + 0.008, known.full_width_half_max)
    x_BCHW = image([near])
    normalized = [specialist.normalize(x_BCHW, [band]) for band in (known, near)]
    assert torch.equal(*normalized)
    assert not torch.allclose(specialist(x_BCHW, [known]), specialist(x_BCHW, [near]))


def test_what_no_known_band_is_like_is_refused_with_both_lists(get):
    with pytest.raises(MissingBandsError, match=r"cirrus .*thermal.*known .blue .*VV"):
        get()(image(STRANGERS), STRANGERS)


@pytest.mark.parametrize("bands", [None, "own"])
def test_shapes_that_do_not_fit_are_refused(get, bands):
    specialist = get()
    with pytest.raises(InputError, match="3 channels for 4 bands"):
        specialist(torch.rand(1, 3, 8, 8), bands and specialist.bands)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -9999.0])
def test_invalid_pixels_do_not_reach_the_output(get, garbage):
    specialist = get()
    bands = specialist.bands[::-1][1:]
    x_BCHW = image(bands)
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    valid[:, 1, 3:9] = False
    valid[0, 2] = False  # a whole band
    spoiled = torch.where(valid, x_BCHW, garbage)
    expected = torch.where(valid, x_BCHW, specialist.spec.mean[0])
    outputs = specialist(spoiled, bands, valid)
    torch.testing.assert_close(outputs, specialist(expected, bands))


@pytest.mark.parametrize("task", TASKS)
def test_every_weight_learns(get, task):
    specialist = deepcopy(get(task))
    specialist.requires_grad_(True)
    specialist(image(specialist.bands, 64, 64)).square().mean().backward()
    idle = [
        name
        for name, weight in specialist.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert idle == []


def test_generators_are_small_beside_the_backbone(get):
    specialist = get()
    assert count_parameters(specialist.stem) < 0.1 * count_parameters(specialist.backbone)
    assert count_parameters(specialist.head.mixer) < 0.1 * count_parameters(specialist.backbone)


def test_macs_are_those_of_a_fixed_stem_and_the_mixtures(get, get_specialist):
    assert count_macs(get("pool")) == count_macs(get_specialist(**TASKS["pool"]))


def test_a_file_brings_it_back(get, tmp_path):
    specialist = get()
    save_weights(specialist, tmp_path / "a.safetensors")
    again = load_specialist(tmp_path / "a.safetensors")
    assert again.spec == specialist.spec
    x_BCHW = image(specialist.bands[:2])
    assert torch.equal(again(x_BCHW, again.bands[:2]), specialist(x_BCHW, again.bands[:2]))


@pytest.mark.parametrize("task", ["scene", "unet"])
def test_in_openvino_it_takes_all_that_it_knows(get, tmp_path, task):
    pytest.importorskip("openvino")
    specialist = get(task)
    compile_specialist(specialist).save(tmp_path)
    compiled = load_compiled(tmp_path)
    x_BCHW = image(specialist.bands, 40, 33)
    torch.testing.assert_close(compiled(x_BCHW), specialist(x_BCHW), rtol=1e-3, atol=1e-4)
    with pytest.raises(MissingBandsError, match="nir"):
        compiled(x_BCHW[:, :2], specialist.bands[:2])


@pytest.mark.filterwarnings("error")
def test_hidden_layers_are_slimmed_and_pyramids_are_not(get):
    specialist = get()
    slimmed = slim(specialist, 0.5)
    assert count_parameters(slimmed) < 0.8 * count_parameters(specialist)
    assert slimmed(image(specialist.bands[:2]), specialist.bands[:2]).isfinite().all()
    with pytest.raises(InputError, match="scope=hidden"):
        slim(specialist, 0.5, scope="full")


def test_a_start_gives_stem_and_backbone_whatever_the_bands(get, make_spec, tmp_path):
    source = get("backbone")
    save_weights(source, tmp_path / "start.safetensors")
    built = build_specialist(make_spec(bands=S2, stem="wavelength")).eval()
    load_backbone(built, tmp_path / "start.safetensors")
    for part in ("stem", "backbone"):
        weights = getattr(built, part).state_dict()
        for name, value in getattr(source, part).state_dict().items():
            assert torch.equal(weights[name], value)


def test_a_start_of_another_stem_is_refused(get, get_specialist, make_spec, tmp_path):
    save_weights(get(), tmp_path / "wavelength.safetensors")
    save_weights(get_specialist(), tmp_path / "fixed.safetensors")
    with pytest.raises(InputError, match="stem=wavelength"):
        load_backbone(build_specialist(make_spec()), tmp_path / "wavelength.safetensors")
    built = build_specialist(make_spec(stem="wavelength"))
    with pytest.raises(InputError, match="stem=fixed"):
        load_backbone(built, tmp_path / "fixed.safetensors")
    with pytest.raises(InputError, match="generates its own"):
        load_backbone(built, tmp_path / "published.safetensors")


def test_other_bands_share_every_weight(make_spec):
    built = build_specialist(make_spec(stem="wavelength", **TASKS["unet"]))
    other = built.for_bands(L8, (0.1,) * len(L8), (0.3,) * len(L8))
    own, theirs = dict(built.named_parameters()), dict(other.named_parameters())
    assert own.keys() == theirs.keys()
    assert all(weight is theirs[name] for name, weight in own.items())
    assert built.state_dict().keys() == other.state_dict().keys()
    assert other.spec.bands == other.bands == L8
    assert built.spec == make_spec(stem="wavelength", **TASKS["unet"])
    assert other.training
    other(image(L8, 32, 32)).square().mean().backward()
    assert all(weight.grad is not None for name, weight in own.items() if "polariz" not in name)
    with torch.no_grad():
        own["stem.generator.fclayer.w1.weight"].zero_()
    assert not theirs["stem.generator.fclayer.w1.weight"].any()


@pytest.mark.parametrize("stem", ["fixed", "wavelength"])
def test_other_statistics_scale_and_change_nothing_else(get_specialist, stem):
    specialist = get_specialist(stem=stem, **TASKS["unet"])
    x_BCHW = image(specialist.bands)
    other = specialist.for_bands(specialist.bands, (1.2,) * 4, (0.2,) * 4)
    assert other.is_frozen
    assert not other.training
    torch.testing.assert_close(other(x_BCHW * 2 + 0.8), specialist(x_BCHW))
    assert specialist.band_mean_C11.flatten().tolist() == pytest.approx([0.2] * 4)


def test_a_fixed_stem_takes_no_other_bands(get_specialist):
    with pytest.raises(InputError, match="stem=wavelength"):
        get_specialist().for_bands(L8, (0.1,) * len(L8), (0.3,) * len(L8))


@pytest.mark.parametrize(("mean", "std"), [((0.1,), (0.1,) * 4), ((0.1,) * 4, (0.0,) * 4)])
def test_statistics_that_cannot_be_are_refused(get_specialist, mean, std):
    specialist = get_specialist()
    with pytest.raises(InputError, match=r"mean holds|std 0\.0"):
        specialist.for_bands(specialist.bands, mean, std)
