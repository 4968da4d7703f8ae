"""Slimming: what is taken out is gone for real, and what is silent is not missed."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import InputError
from specialists import (
    SpecialistSpec,
    build_specialist,
    count_macs,
    count_parameters,
    load_specialist,
    save_weights,
)
from specialists.backbone import list_mlps
from specialists.slimming import slim
from specialists.spec import ARCHITECTURES, HIDDEN_FACTOR, PUBLISHED

PIXELS = {"task": "semantic-segmentation"}
BACKBONE = {"task": "similarity-search", "classes": ()}
HEADS = [
    {},
    {"head_hidden_size": 16},
    {"head": "pool"},
    {"multi_label": True},
    {"task": "regression"},
    BACKBONE,
    PIXELS,
    PIXELS | {"stem_stride": 2},
    PIXELS | {"decoder": "fpn"},
    PIXELS | {"decoder": "linear"},
    {"task": "regression", "per_pixel": True},
]


@pytest.fixture(scope="module")
def batches():
    torch.manual_seed(1)
    images = torch.rand(6, 4, 32, 32) * 0.4
    valid = torch.rand(6, 4, 32, 32) > 0.05
    return [{"image": images[rows], "valid": valid[rows]} for rows in (slice(4), slice(4, 6))]


@pytest.fixture
def x_BCHW():
    torch.manual_seed(2)
    return torch.rand(3, 4, 45, 38) * 0.4


def silence(specialist, share):
    """Hidden channels of every block that are 0, whatever the image."""
    torch.manual_seed(3)
    with torch.no_grad():
        for mlp in list_mlps(specialist.backbone):
            count = len(mlp.grn.weight)
            silent = torch.randperm(count)[: round(count * share)]
            mlp.fc1.weight[silent] = mlp.fc1.bias[silent] = 0
            mlp.fc2.weight[:, silent] *= 0.01


def copy_of(specialist):
    copy = build_specialist(specialist.spec)
    copy.load_state_dict(specialist.state_dict())
    return copy.eval()


def distance(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("changes", [{}, {"architecture": "convnextv2_tiny"}])
@pytest.mark.parametrize("measured", [False, True])
@torch.no_grad()
def test_silent_channels_are_not_missed(get_specialist, batches, x_BCHW, changes, measured):
    whole = copy_of(get_specialist(**changes))
    silence(whole, 0.5)
    slimmed = slim(whole, 0.5, batches=batches if measured else ())
    assert distance(slimmed(x_BCHW), whole(x_BCHW)) < 1e-5
    pairs = zip(slimmed.forward_features(x_BCHW), whole.forward_features(x_BCHW), strict=True)
    assert max(distance(found, wanted) for found, wanted in pairs) < 1e-5
    assert count_parameters(slimmed) < 0.65 * count_parameters(whole)


@torch.no_grad()
def test_without_the_correction_they_would_be(get_specialist, x_BCHW):
    whole = copy_of(get_specialist())
    silence(whole, 0.5)
    slimmed = slim(whole, 0.5)
    for mlp in list_mlps(slimmed.backbone):
        mlp.grn.weight /= 2
    assert distance(slimmed(x_BCHW), whole(x_BCHW)) > 1e-3


@torch.no_grad()
def test_looking_at_images_helps_where_channels_are_not_silent(get_specialist, batches, x_BCHW):
    whole = get_specialist(head="pool")
    blind, seeing = slim(whole, 0.5), slim(whole, 0.5, batches=batches)
    wanted = whole.forward_features(x_BCHW)
    blind_error, seeing_error = (
        sum(map(distance, slimmed.forward_features(x_BCHW), wanted)) for slimmed in (blind, seeing)
    )
    assert seeing_error < blind_error


@pytest.mark.parametrize(
    ("changes", "scope"),
    [*((head, "full") for head in HEADS), ({}, "hidden"), (PIXELS, "hidden")],
    ids=str,
)
@torch.no_grad()
def test_every_head_follows(get_specialist, batches, x_BCHW, changes, scope, tmp_path):
    whole = get_specialist(**changes)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    slimmed = slim(whole, 0.4, scope=scope, importance="taylor", batches=batches)
    channels = [24, 48, 96, 192] if scope == "full" else [40, 80, 160, 320]
    assert slimmed.feature_info.channels() == channels
    features = slimmed.forward_features(x_BCHW)
    assert [level.shape[1] for level in features] == channels
    assert [level.shape[2:] for level in features] == [
        level.shape[2:] for level in whole.forward_features(x_BCHW)
    ]
    if changes != BACKBONE:
        assert slimmed(x_BCHW).shape == whole(x_BCHW).shape
    assert slimmed(x_BCHW).isfinite().all()
    assert slimmed.feature_info.reduction() == whole.feature_info.reduction()
    assert count_macs(slimmed) < 0.99 * count_macs(whole)

    save_weights(slimmed, tmp_path / "slim.safetensors")
    restored = load_specialist(tmp_path / "slim.safetensors")
    assert restored.spec == slimmed.spec
    assert torch.equal(restored(x_BCHW), slimmed(x_BCHW))

    assert whole.is_frozen
    assert not any(weight.requires_grad for weight in whole.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in whole.state_dict().items())


@torch.no_grad()
def test_the_pyramid_head_reads_the_channels_that_stay(get_specialist):
    whole = copy_of(get_specialist())
    for norm in whole.head.norms:
        norm.weight.copy_(torch.arange(len(norm.weight)))
    whole.head.fc.weight.copy_(torch.arange(whole.head.fc.in_features).expand(3, -1))
    slimmed = slim(whole, 0.75, scope="full")
    columns, offset = [], 0
    for norm, width in zip(slimmed.head.norms, (40, 80, 160, 320), strict=True):
        means, deviations = norm.weight.view(2, -1)
        assert len(means) == width // 4
        assert torch.equal(means + width, deviations)
        assert means.max() < width
        columns += [offset + norm.weight]
        offset += 2 * width
    columns.append(torch.arange(offset, offset + 8))
    assert torch.equal(slimmed.head.fc.weight[1], torch.cat(columns))
    stem = whole.backbone.stem_0.weight[slimmed.head.norms[0].weight[:10].long()]
    assert torch.equal(slimmed.backbone.stem_0.weight, stem)


@torch.no_grad()
def test_large_channels_stay_by_magnitude(get_specialist):
    whole = copy_of(get_specialist())
    wanted = []
    for number, mlp in enumerate(list_mlps(whole.backbone)):
        large = torch.arange(number % 4, len(mlp.grn.weight), 4)
        mlp.fc1.weight[large] *= 10
        wanted.append(mlp.fc1.weight[large])
    slimmed = slim(whole, 0.75)
    found = [mlp.fc1.weight for mlp in list_mlps(slimmed.backbone)]
    assert all(map(torch.equal, found, wanted))


@torch.no_grad()
def test_large_channels_that_nobody_reads_go_by_taylor(get_specialist, batches):
    whole = copy_of(get_specialist())
    read = []
    for number, mlp in enumerate(list_mlps(whole.backbone)):
        unread = torch.arange(len(mlp.grn.weight)) % 4 != number % 4
        mlp.fc1.weight[unread] *= 10
        mlp.fc2.weight[:, unread] = 0
        read.append(mlp.fc1.weight[~unread])
    slimmed = slim(whole, 0.75, importance="taylor", batches=batches)
    found = [mlp.fc1.weight for mlp in list_mlps(slimmed.backbone)]
    assert all(map(torch.equal, found, read))


def test_taylor_is_of_the_images(get_specialist, batches):
    whole = get_specialist()
    by_images = slim(whole, 0.5, importance="taylor", batches=batches).state_dict()
    again = slim(whole, 0.5, importance="taylor", batches=batches).state_dict()
    by_weights = slim(whole, 0.5, batches=batches).state_dict()
    name = "backbone.stages_2.blocks.3.mlp.fc1.weight"
    assert torch.equal(by_images[name], again[name])
    assert not torch.equal(by_images[name], by_weights[name])


def test_slimming_twice_goes_on_from_the_first(get_specialist):
    once = slim(get_specialist(**PIXELS), 0.5, scope="full")
    twice = slim(once, 0.5)
    assert twice.spec.stage_widths == once.spec.stage_widths == (20, 40, 80, 160)
    assert twice.spec.hidden_widths == tuple(width // 2 for width in once.spec.hidden_widths)


@settings(max_examples=8, deadline=None)
@given(
    ratio=st.floats(0, 1, exclude_min=True, exclude_max=True),
    scope=st.sampled_from(["hidden", "full"]),
)
def test_any_ratio_leaves_a_network(get_specialist, ratio, scope):
    slimmed = slim(get_specialist(head="pool"), ratio, scope=scope)
    spec = slimmed.spec
    assert min(spec.hidden_widths) >= 1
    assert spec.hidden_widths[-1] == max(1, round(1280 * (1 - ratio)))
    assert slimmed.feature_info.channels() == list(spec.stage_widths or (40, 80, 160, 320))
    assert SpecialistSpec.from_dict(spec.to_dict()) == spec
    assert slimmed(torch.zeros(1, 4, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("ratio", "options", "message"),
    [
        (0, {}, "ratio 0 is not between 0 and 1"),
        (1, {}, "ratio 1 "),
        (-0.5, {}, "ratio -0.5"),
        (float("nan"), {}, "ratio nan"),
        (0.5, {"scope": "stem"}, "scope 'stem' is not one of hidden, full"),
        (0.5, {"importance": "random"}, "importance 'random' is not one of magnitude, taylor"),
        (0.5, {"importance": "taylor"}, "taylor needs batches"),
    ],
)
def test_what_cannot_be_slimmed_is_refused(get_specialist, ratio, options, message):
    with pytest.raises(InputError, match=message):
        slim(get_specialist(), ratio, **options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_published_widths_are_those_of_timm(architecture):
    with torch.device("meta"):
        published = timm.create_model(architecture, features_only=True, pretrained=False)
    widths, depths = PUBLISHED[architecture]
    stages = [getattr(published, f"stages_{number}") for number in range(4)]
    assert published.feature_info.channels() == list(widths)
    assert [len(stage.blocks) for stage in stages] == list(depths)
    hidden = [mlp.fc1.weight.shape[0] for mlp in list_mlps(published)]
    assert hidden == [
        HIDDEN_FACTOR * width
        for width, depth in zip(widths, depths, strict=True)
        for _ in range(depth)
    ]
