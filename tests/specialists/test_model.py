"""Tensor shapes: B batch, C channels, H rows, W columns, K outputs."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.grn import GlobalResponseNorm
from torch import nn

from sensors import Band, InputError, MissingBandsError, load_sensor
from specialists import build_specialist
from specialists.backbone import FusedGlobalResponseNorm, pad_to_multiple
from specialists.spec import ARCHITECTURES

SIZES = [(64, 64), (33, 47), (8, 100), (1, 1)]
TASKS = {
    "scene": {"task": "scene-classification"},
    "pool": {"task": "scene-classification", "head": "pool", "stem_stride": 2},
    "hidden": {"task": "scene-classification", "head_hidden_size": 24, "multi_label": True},
    "unet": {"task": "semantic-segmentation"},
    "fpn": {"task": "semantic-segmentation", "decoder": "fpn", "stem_stride": 2},
    "linear": {"task": "semantic-segmentation", "decoder": "linear"},
    "scene regression": {"task": "regression", "target_mean": (5.0,) * 3, "target_std": (2.0,) * 3},
    "pixel regression": {
        "task": "regression",
        "per_pixel": True,
        "target_mean": (1.0, 2.0, 3.0),
        "target_std": (4.0, 5.0, 6.0),
    },
}
EXTRA_BANDS = (Band("cirrus", 1.375, 0.03), Band("thermal", 10.9, 0.6, quantity="temperature"))


@pytest.fixture(params=TASKS)
def specialist(request, get_specialist):
    return get_specialist(**TASKS[request.param])


def pixels(specialist, height=24, width=24, batch=2):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(batch, len(specialist.bands), height, width, generator=generator)


@pytest.mark.parametrize("stem_stride", [4, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_feature_info_is_true_of_every_architecture(make_spec, architecture, stem_stride):
    with torch.device("meta"):
        built = build_specialist(make_spec(architecture=architecture, stem_stride=stem_stride))
    built.to("meta")
    channels, reductions = built.feature_info.channels(), built.feature_info.reduction()
    assert reductions == [stem_stride * step for step in (1, 2, 4, 8)]
    assert built.num_features == channels[-1]
    for height, width in SIZES:
        padded = [-(-edge // reductions[-1]) * reductions[-1] for edge in (height, width)]
        features = built.forward_features(torch.empty(2, 4, height, width, device="meta"))
        assert [tuple(level.shape) for level in features] == [
            (2, c, padded[0] // r, padded[1] // r)
            for c, r in zip(channels, reductions, strict=True)
        ]


@pytest.mark.parametrize("size", SIZES)
def test_outputs_have_the_shape_of_their_task(specialist, size):
    outputs = specialist(pixels(specialist, *size))
    assert outputs.shape == ((2, 3, *size) if specialist.spec.is_per_pixel else (2, 3))
    assert outputs.isfinite().all()
    features = specialist.forward_features(pixels(specialist, *size))
    assert [level.shape[1] for level in features] == specialist.feature_info.channels()


@pytest.mark.parametrize("sensor", ["sentinel-2-l1c", "enmap-l2a"])
def test_any_number_of_bands(make_spec, sensor):
    bands = load_sensor(sensor).channels
    built = build_specialist(make_spec(bands=bands)).eval()
    assert built(torch.rand(1, len(bands), 16, 16), bands).shape == (1, 3)
    assert len(bands) in (13, 224)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_order_of_bands_and_unrelated_bands_change_nothing(get_specialist, data):
    specialist = get_specialist(**TASKS["unet"])
    bands = specialist.bands + tuple(data.draw(st.sets(st.sampled_from(EXTRA_BANDS))))
    x_BCHW = torch.rand(1, len(bands), 9, 9, generator=torch.Generator().manual_seed(1))
    valid = x_BCHW > 0.2
    expected = specialist(x_BCHW[:, :4], valid=valid[:, :4])
    order = data.draw(st.permutations(range(len(bands))))
    given_bands = [bands[i] for i in order]
    assert torch.equal(specialist(x_BCHW[:, order], given_bands, valid[:, order]), expected)


def test_a_missing_band_is_named(get_specialist):
    specialist = get_specialist()
    with pytest.raises(MissingBandsError, match="nir"):
        specialist(torch.rand(1, 3, 8, 8), [b for b in specialist.bands if b.name != "nir"])


def test_narrow_bands_are_mixed_into_a_broad_one(make_spec):
    built = build_specialist(make_spec(bands=(Band("broad", 0.8, 0.1), Band("blue", 0.49, 0.06))))
    narrow = tuple(Band(f"n{i}", 0.75 + 0.02 * i, 0.02) for i in range(6))
    x_BCHW = torch.full((1, 7, 4, 4), 0.3)
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    valid[:, 2, 0, 0] = False
    normalized = built.normalize(x_BCHW, (*narrow, built.bands[1]), valid)
    torch.testing.assert_close(normalized[0, 0, 1, 1], torch.tensor(1.0))
    assert normalized[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8, 8), "3 channels for 4 bands .blue, red, nir, VV"),
        ((4, 8, 8), r"\(B, C, H, W\)"),
        ((1, 4, 0, 8), r"\(B, C, H, W\)"),
    ],
)
@pytest.mark.parametrize("with_bands", [True, False])
def test_images_that_do_not_fit_are_refused(get_specialist, shape, message, with_bands):
    specialist = get_specialist()
    with pytest.raises(InputError, match=message):
        specialist(torch.rand(shape), specialist.bands if with_bands else None)


@pytest.mark.parametrize("valid", [torch.ones(1, 4, 8, 7).bool(), torch.ones(1, 4, 8, 8)])
def test_a_mask_that_does_not_fit_is_refused(get_specialist, valid):
    with pytest.raises(InputError, match="valid is"):
        get_specialist()(torch.rand(1, 4, 8, 8), valid=valid)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -9999.0, 3.4e38])
def test_invalid_pixels_do_not_reach_the_output(specialist, garbage):
    x_BCHW = pixels(specialist)
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    valid[:, 1, 3:9] = False
    spoiled = torch.where(valid, x_BCHW, garbage)
    expected = torch.where(valid, x_BCHW, specialist.spec.mean[1])
    torch.testing.assert_close(specialist(spoiled, valid=valid), specialist(expected))


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -3.4e38])
def test_values_without_a_finite_scaling_are_invalid(get_specialist, garbage):
    specialist = get_specialist()
    x_BCHW = pixels(specialist)
    x_BCHW[0, 2, 5, 5] = garbage
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    valid[0, 2, 5, 5] = False
    assert torch.equal(specialist(x_BCHW), specialist(x_BCHW, valid=valid))


def test_integer_and_double_pixels_are_taken(get_specialist):
    specialist = get_specialist()
    x_BCHW = torch.randint(0, 3, (1, 4, 8, 8))
    assert torch.equal(specialist(x_BCHW, specialist.bands), specialist(x_BCHW.double()))


@pytest.mark.parametrize("task", ["unet", "fpn"])
def test_every_pixel_is_answered_at_its_own_place(get_specialist, task):
    specialist = get_specialist(**TASKS[task])
    x_BCHW = pixels(specialist, 45, 39, batch=1)
    row, column = 41, 7
    spoiled = x_BCHW.clone()
    spoiled[:, :, row, column] += 2
    change_HW = (specialist(spoiled) - specialist(x_BCHW)).abs().sum((0, 1))
    peak = divmod(int(change_HW.argmax()), 39)
    assert abs(peak[0] - row) <= 2
    assert abs(peak[1] - column) <= 2


def test_predictions_are_in_the_units_of_their_task(specialist):
    x_BCHW = pixels(specialist)
    outputs, predicted = specialist(x_BCHW), specialist.predict(x_BCHW)
    assert predicted.shape == outputs.shape
    if specialist.spec.task == "regression":
        shape = (1, -1) + (1,) * (outputs.ndim - 2)
        mean = torch.tensor(specialist.spec.target_mean).view(shape)
        std = torch.tensor(specialist.spec.target_std).view(shape)
        torch.testing.assert_close(predicted, outputs * std + mean)
    elif specialist.spec.multi_label:
        torch.testing.assert_close(predicted.logit(), outputs, rtol=1e-3, atol=1e-3)
    else:
        torch.testing.assert_close(predicted.sum(1), torch.ones_like(predicted.sum(1)))
        torch.testing.assert_close(predicted.argmax(1), outputs.argmax(1))


def test_predictions_have_no_gradient(make_spec):
    built = build_specialist(make_spec())
    assert built(pixels(built)).requires_grad
    assert not built.predict(pixels(built)).requires_grad


@pytest.mark.parametrize("task", TASKS)
def test_every_weight_learns(get_specialist, task):
    specialist = deepcopy(get_specialist(**TASKS[task]))
    specialist.requires_grad_(True)
    specialist(pixels(specialist, 64, 64)).square().mean().backward()
    idle = [
        name
        for name, weight in specialist.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert idle == []


@pytest.mark.parametrize("task", ["scene", "unet", "fpn"])
def test_an_empty_chip_gives_finite_gradients(make_spec, task):
    torch.manual_seed(0)
    built = build_specialist(make_spec(**TASKS[task]))
    outputs = built(torch.full((2, 4, 32, 32), float("nan")))
    outputs.square().mean().backward()
    assert outputs.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in built.parameters())


def test_freeze_cannot_be_undone_by_a_parent(get_specialist):
    specialist = deepcopy(get_specialist())
    parent = nn.Sequential(specialist, nn.Dropout())
    parent.train()
    assert parent[1].training
    assert not any(module.training for module in specialist.modules())
    assert not any(weight.requires_grad for weight in specialist.parameters())
    assert specialist.is_frozen


def test_an_unfrozen_specialist_trains(make_spec):
    built = build_specialist(make_spec())
    assert not built.is_frozen
    assert nn.Sequential(built).eval().train()[0].backbone.training
    assert all(weight.requires_grad for weight in built.parameters())


def test_reset_head_answers_for_other_classes(make_spec):
    built = build_specialist(make_spec(task="regression", target_mean=(1.0, 2.0, 3.0))).eval()
    x_BCHW = pixels(built)
    before = built.forward_features(x_BCHW)
    built.reset_head(["height", "volume"], target_mean=[10.0, 20.0])
    assert built.spec.classes == ("height", "volume")
    assert built.spec.target_std == (1.0, 1.0)
    torch.testing.assert_close(built.predict(x_BCHW), built(x_BCHW) + torch.tensor([10.0, 20.0]))
    after = built.forward_features(x_BCHW)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_frozen_head_stays(get_specialist):
    with pytest.raises(InputError, match="frozen"):
        get_specialist().reset_head(["a", "b"])


def test_one_seed_builds_one_network(make_spec):
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(build_specialist(make_spec()).state_dict())
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])


@pytest.mark.parametrize("channels_last", [False, True])
def test_response_norm_equals_the_published_one(channels_last):
    torch.manual_seed(0)
    ours, theirs = (
        layer(6, channels_last=channels_last)
        for layer in (FusedGlobalResponseNorm, GlobalResponseNorm)
    )
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn((2, 5, 7, 6) if channels_last else (2, 6, 5, 7)).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x))
    gradients = [
        torch.autograd.grad(layer(x).pow(3).sum(), [x, layer.weight, layer.bias])
        for layer in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, [0, 1, 2, 3, 4, 3, 2, 1]),
        (3, [0, 1, 2, 2, 2, 2, 2, 2]),
        (1, [0] * 8),
        (8, list(range(8))),
    ],
)
def test_padding_mirrors_and_else_repeats(size, expected):
    row = torch.arange(size, dtype=torch.float32)
    padded = pad_to_multiple(row.expand(1, 1, size, size), 8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0, 0].tolist() == expected
    assert pad_to_multiple(row.expand(1, 1, size, size).mT, 8)[0, 0, :, 0].tolist() == expected
