"""Tensor shapes: B batch, C bands, H rows, W columns, N patches, T tokens, D width."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router import TRUNKS, build_trunk
from router.trunk_spec import DOFA_V1
from sensors import Band, InputError, SarChannel, load_sensor
from specialists.backbone import build_backbone
from specialists.cost import count_call_macs


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture(scope="module")
def published():
    """TorchGeo's DOFA-B with random weights, and ours with the same."""
    from torchgeo.models import dofa_base_patch16_224

    torch.manual_seed(0)
    theirs = dofa_base_patch16_224(num_classes=0).eval()
    torch.nn.init.normal_(theirs.cls_token, std=0.5)
    torch.nn.init.normal_(theirs.pos_embed, std=0.5)
    ours = build_trunk(replace(TRUNKS["dofa-base"], **DOFA_V1)).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 9, 202])
@torch.no_grad()
def test_features_are_those_of_torchgeo(published, count):
    theirs, ours = published
    if count == 2:  # the convention belongs to the weights: radar is given as it is
        bands = tuple(SarChannel(name, name, 5.405) for name in ("VV", "VH"))
        wavelengths = [3.75, 3.75]
    else:
        wavelengths = torch.linspace(0.42, 2.44, count).tolist()
        bands = tuple(Band(f"B{k}", value, 0.01) for k, value in enumerate(wavelengths))
    ours.set_statistics(bands, [0.0] * count, [1.0] * count)
    x_BCHW = torch.randn(1, count, 224, 224, generator=torch.Generator().manual_seed(count))
    wanted_BD = theirs.forward_features(x_BCHW, wavelengths)
    features_BD = ours.embed(x_BCHW, bands)
    assert relative(features_BD, wanted_BD) < 1e-5
    assert relative(ours.embed(x_BCHW, bands), features_BD) < 1e-6  # with kept filters
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    assert relative(ours.embed(x_BCHW[:, order], [bands[k] for k in order]), features_BD) < 1e-5


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)), count=st.integers(1, 6))
def test_order_of_bands_changes_nothing(make_trunk, make_image, all_bands, order, count):
    trunk, x_BCHW = make_trunk(), make_image()
    order = [place for place in order if place < count]
    with torch.no_grad():
        tokens = trunk.forward_tokens(x_BCHW[:, :count], all_bands[:count])
        given_bands = [all_bands[place] for place in order]
        assert relative(trunk.forward_tokens(x_BCHW[:, order], given_bands), tokens) < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (40, 24), (64, 16)])
@pytest.mark.parametrize("norm", ["tokens", "pooled"])
def test_pyramid_tokens_and_vector_have_the_shapes_that_are_told(
    make_trunk, make_image, all_bands, size, norm
):
    trunk, x_BCHW = make_trunk(norm=norm), make_image(*size)
    assert trunk.feature_info.reduction() == [2, 4, 8, 16]
    assert trunk.feature_info.channels() == [32] * 4
    assert trunk.num_features == 32
    padded = [-(-edge // 16) * 16 for edge in size]
    with torch.no_grad():
        levels = trunk.forward_features(x_BCHW, all_bands)
        tokens = trunk.forward_tokens(x_BCHW, all_bands)
        vector = trunk.embed(x_BCHW, all_bands)
    assert [tuple(level.shape) for level in levels] == [
        (2, 32, padded[0] // step, padded[1] // step) for step in (2, 4, 8, 16)
    ]
    assert tokens.shape == (2, 1 + size[0] * size[1] // 64, 32)
    assert torch.equal(trunk(x_BCHW, all_bands), vector)
    rows, columns = size[0] // 8, size[1] // 8
    last = levels[2][..., :rows, :columns].flatten(2).transpose(1, 2)
    torch.testing.assert_close(last, trunk.fc_norm(levels_tokens(trunk, x_BCHW, all_bands)))
    torch.testing.assert_close(vector, trunk.fc_norm(tokens[:, 1:].mean(1)))


def levels_tokens(trunk, x_BCHW, bands):
    """Tokens after the third of four blocks, which the third of four levels shows."""
    with torch.no_grad():
        outputs = list(trunk.run_blocks(trunk.embed_patches(x_BCHW, bands)))
        return trunk.norm(outputs[2][:, 1:])


def test_a_single_band_and_many_and_single_patches_work(make_trunk):
    trunk = make_trunk()
    many = load_sensor("enmap-l2a").channels[:202]
    for bands in (many[:1], many):
        x_BCHW = torch.rand(1, len(bands), 8, 8)
        assert trunk.embed(x_BCHW, bands).isfinite().all()


def test_position_and_class_token_are_those_of_the_grid(make_trunk, make_image, all_bands):
    trunk = make_trunk()
    positions = trunk._positions((4, 4))
    assert positions is trunk.pos_embed
    assert len(positions[0].unique(dim=0)) == 17
    wide = trunk._positions((2, 8))
    assert wide.shape == (1, 17, 32)
    assert not torch.allclose(wide, positions)
    x_BCHW = make_image()
    with torch.no_grad():  # the mean of an image that is moved by a patch differs: positions count
        moved = trunk.embed(x_BCHW.roll(8, 2), all_bands)
        assert relative(moved, trunk.embed(x_BCHW, all_bands)) > 1e-4


def test_kept_patches_are_the_ones_the_blocks_see(make_trunk, make_image, all_bands):
    trunk, x_BCHW = make_trunk(), make_image()
    everything = torch.arange(16).expand(2, -1)
    some = torch.tensor([[3, 0, 7], [15, 2, 1]])
    with torch.no_grad():
        whole = trunk.forward_tokens(x_BCHW, all_bands)
        torch.testing.assert_close(
            trunk.forward_tokens(x_BCHW, all_bands, keep_BN=everything), whole
        )
        kept = trunk.forward_tokens(x_BCHW, all_bands, keep_BN=some)
        assert kept.shape == (2, 4, 32)
        unseen = x_BCHW.clone()
        unseen[0, :, :8, 8:16] += 1  # patch 1 of the first image: not among its kept ones
        same = trunk.forward_tokens(unseen, all_bands, keep_BN=some)
    assert torch.equal(same, kept)


def test_invalid_pixels_count_as_the_mean_whatever_they_hold(make_trunk, make_image, all_bands):
    trunk, x_BCHW = make_trunk(), make_image()
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    valid[0, 2, 4:9] = False
    broken = x_BCHW.clone()
    broken[0, 2, 4:9] = torch.tensor(float("nan"))
    other = x_BCHW.clone()
    other[0, 2, 4:9] = -9999
    with torch.no_grad():
        normalised = trunk.normalize(broken, all_bands, valid)
        assert (normalised[~valid] == 0).all()
        assert torch.equal(
            trunk.embed(broken, all_bands, valid), trunk.embed(other, all_bands, valid)
        )


def test_checkpointing_gives_the_same_gradient(make_trunk, make_image, all_bands):
    gradients = []
    for enabled in (False, True):
        trunk = deepcopy(make_trunk()).train()
        trunk.set_grad_checkpointing(enabled)
        trunk.embed(make_image(), all_bands).square().sum().backward()
        gradients.append({name: weight.grad for name, weight in trunk.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.any(), name
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("name", TRUNKS)
def test_named_sizes_are_built(name):
    with torch.device("meta"):
        trunk = build_trunk(name)
    assert trunk.num_features == TRUNKS[name].width
    levels = trunk.to("meta").forward_features(
        torch.empty(1, 1, 224, 224, device="meta"), [Band("red", 0.66, 0.03)]
    )
    assert [224 / level.shape[-1] for level in levels] == trunk.feature_info.reduction()


@pytest.mark.parametrize("count", [3, 12, 13])
def test_the_default_costs_no_more_than_an_atto_on_the_same_bands(count):
    bands = [Band(f"B{k}", 0.4 + 0.1 * k, 0.05) for k in range(count)]
    with torch.device("meta"):
        atto, x_BCHW = build_backbone("convnextv2_atto", count), torch.empty(1, count, 224, 224)
    nano = build_trunk("dofa-nano").to("meta")
    with torch.device("meta"):
        cost = count_call_macs(lambda: nano.train().embed(x_BCHW, bands))
        assert cost <= count_call_macs(lambda: atto.to("meta")(x_BCHW))
    assert cost < 0.565e9


def test_errors_say_what_came_and_what_is_expected(make_trunk, make_image, all_bands):
    trunk, x_BCHW = make_trunk(), make_image()
    for broken, arguments, message in (
        (x_BCHW[:, :5], (all_bands,), "5 channels for 6 bands"),
        (x_BCHW, (), "6 channels for 0 bands .none.; say with `bands`"),
        (x_BCHW[0], (all_bands,), "expected an image batch"),
        (x_BCHW[..., :30], (all_bands,), "32 x 30.*32 x 24 and 32 x 32 fit"),
        (x_BCHW, (all_bands, x_BCHW > 0.0 * x_BCHW[:1]), None),
        (x_BCHW, (all_bands, torch.ones(2, 1, 32, 32, dtype=torch.bool)), "valid is torch.bool"),
    ):
        if message is None:
            trunk.embed(broken, *arguments)
            continue
        with pytest.raises(InputError, match=message):
            trunk.embed(broken, *arguments)
    for value in (float("nan"), float("inf"), float("-inf")):
        x_BCHW = make_image().clone()
        x_BCHW[1, 4, 3, 3] = value
        with pytest.raises(InputError, match=r"not finite numbers in VV \(1\); give `valid`"):
            trunk.embed(x_BCHW, all_bands)
    with pytest.raises(InputError, match="no trunk 'dofa'; there are dofa-nano, "):
        build_trunk("dofa")


def test_frozen_trunk_has_no_gradient(make_trunk, make_image, all_bands):
    trunk = deepcopy(make_trunk()).freeze()
    assert not trunk.embed(make_image(), all_bands).requires_grad
