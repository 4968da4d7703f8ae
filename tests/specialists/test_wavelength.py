"""Tensor shapes: B batch, C bands, H rows, W columns, E size of a code, N patches, D width."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import Band, InputError, SarChannel
from specialists.wavelength import (
    CODE_SIZE,
    SAR_CONVENTIONS,
    ChannelEncoder,
    DynamicPatchEmbed,
    WeightGenerator,
)

RED, NIR, THERMAL = (
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.1),
    Band("thermal", 10.9, 0.6, quantity="temperature"),
)
VV, VH, L_VV = (
    SarChannel("VV", "VV", 5.405),
    SarChannel("VH", "VH", 5.405),
    SarChannel("L", "VV", 1.27),
)
ALL = (RED, NIR, THERMAL, VV, VH, L_VV)


@pytest.fixture
def embed():
    torch.manual_seed(0)
    return DynamicPatchEmbed(24, 4, hidden_size=64).eval()


def image(bands, height=8, width=12, batch=2):
    return torch.randn(batch, len(bands), height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("convention", SAR_CONVENTIONS)
def test_optical_and_thermal_bands_are_sines_and_cosines_of_nanometres(convention):
    codes_CE = ChannelEncoder(convention)([RED, THERMAL])
    for code_E, nanometres in zip(codes_CE, (665.0, 10900.0), strict=True):
        for index in (0, 1, 30, 63):
            angle = nanometres / 10000 ** (index / 64)
            assert code_E[index].item() == pytest.approx(math.sin(angle), abs=2e-3)
            assert code_E[64 + index].item() == pytest.approx(math.cos(angle), abs=2e-3)


def test_published_conventions_take_radar_for_one_wavelength():
    for convention, wavelength in (("dofa-v1", 3.75), ("dofa-v2", 5.405)):
        encoder = ChannelEncoder(convention)
        assert not list(encoder.parameters())
        codes_CE = encoder([VV, VH, L_VV, Band("pretended", wavelength, 0.1)])
        assert (codes_CE == codes_CE[-1]).all()


def test_own_convention_tells_polarisation_and_frequency_apart():
    codes_CE = ChannelEncoder()([*ALL, Band("at 5.405 um", 5.405, 0.1)]).detach()
    assert torch.cdist(codes_CE, codes_CE).fill_diagonal_(9).min() > 1


def test_unknown_convention_is_refused():
    with pytest.raises(InputError, match="'dofa-v3' is not one of polarization, dofa-v1, dofa-v2"):
        DynamicPatchEmbed(8, 4, sar_convention="dofa-v3")


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_matrix_product_is_the_convolution(padding, reduction):
    torch.manual_seed(0)
    embed = DynamicPatchEmbed(24, 4, padding=padding, band_reduction=reduction, hidden_size=64)
    x_BCHW = image(ALL)
    filters_CKKD, bias_D = embed.generate(ALL)
    wanted = F.conv2d(x_BCHW, filters_CKKD.permute(3, 0, 1, 2), bias_D, stride=4, padding=padding)
    torch.testing.assert_close(
        embed(x_BCHW, ALL), wanted.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(len(ALL))), count=st.integers(1, len(ALL)))
def test_order_of_bands_changes_nothing(order, count):
    torch.manual_seed(0)
    embed = DynamicPatchEmbed(24, 4, hidden_size=64)
    order = [place for place in order if place < count]
    bands, x_BCHW = ALL[:count], image(ALL[:count])
    tokens_BND = embed(x_BCHW, bands)
    permuted_BND = embed(x_BCHW[:, order], [bands[place] for place in order])
    assert (permuted_BND - tokens_BND).norm() < 1e-5 * tokens_BND.norm()


def test_mean_over_bands_keeps_the_scale_and_sum_is_equal_for_nine():
    torch.manual_seed(0)
    mean = DynamicPatchEmbed(64, 8, hidden_size=64)
    total = DynamicPatchEmbed(64, 8, hidden_size=64, band_reduction="sum")
    total.load_state_dict(mean.state_dict())
    bands = [Band(f"b{k}", 0.4 + 0.01 * k, 0.01) for k in range(200)]
    x_BCHW = image(bands[:1], 64, 64).expand(-1, 200, -1, -1)
    nine = x_BCHW[:, :9], bands[:9]
    torch.testing.assert_close(mean(*nine), total(*nine))
    spread = [mean(x_BCHW[:, :count], bands[:count]).std(1).mean().item() for count in (2, 200)]
    assert spread == pytest.approx([1, 1], abs=0.6)
    assert total(x_BCHW, bands).std(1).mean() > 5 * spread[1]


def test_filters_are_kept_until_a_parameter_changes(embed):
    with torch.no_grad():
        first, again = embed.generate([RED, VV]), embed.generate([RED, VV])
        assert first[0] is again[0]
        assert embed.generate([VV, RED])[0] is not first[0]
        embed.fclayer.w1.weight.mul_(1.5)
        changed = embed.generate([RED, VV])
        assert not torch.equal(changed[0], first[0])
    embed.train()
    assert embed.generate([RED, VV])[0].requires_grad
    embed.eval()
    optimiser = torch.optim.SGD(embed.parameters(), lr=0.1)
    with torch.no_grad():
        before = embed.generate([RED, VV])
    embed(image([RED, VV]), [RED, VV]).sum().backward()
    optimiser.step()
    with torch.no_grad():
        assert not torch.equal(embed.generate([RED, VV])[0], before[0])


@pytest.mark.parametrize("assign", [False, True])
def test_kept_filters_follow_loaded_weights(embed, assign):
    torch.manual_seed(1)
    other = DynamicPatchEmbed(24, 4, hidden_size=64).eval()
    with torch.inference_mode():
        embed.generate(ALL)
        wanted = other.generate(ALL)
    embed.load_state_dict(other.state_dict(), assign=assign)
    with torch.inference_mode():
        assert torch.equal(embed.generate(ALL)[0], wanted[0])
    half = embed.to(torch.float64)
    with torch.no_grad():
        assert half.generate(ALL)[0].dtype == torch.float64


def test_kept_filters_serve_a_gradient_of_the_image_and_stay_out_of_copies(embed):
    embed.requires_grad_(False)
    with torch.inference_mode():
        embed.generate(ALL)
    x_BCHW = image(ALL).requires_grad_()
    embed(x_BCHW, ALL).sum().backward()
    assert x_BCHW.grad.abs().sum() > 0
    assert embed.generate(ALL)[0] is embed.generate(ALL)[0]
    assert not deepcopy(embed)._kept
    assert set(embed.state_dict()) == set(deepcopy(embed).state_dict())


def test_only_the_last_few_lists_are_kept(embed):
    with torch.no_grad():
        first = embed.generate([RED])[0]
        for count in range(2, 6):
            embed.generate([RED] * count)
        assert embed.generate([RED])[0] is not first


def test_every_parameter_gets_a_gradient():
    embed = DynamicPatchEmbed(24, 4, hidden_size=64)
    embed(image(ALL), ALL).square().sum().backward()
    idle = [
        name
        for name, weight in embed.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert not idle


def test_generator_without_bias():
    filters, bias = WeightGenerator(10, 0, 32)(torch.randn(3, CODE_SIZE))
    assert filters.shape == (3, 10)
    assert bias is None


def test_errors_say_what_fits(embed):
    with pytest.raises(InputError, match="3 channels for 2 bands \\(red, VV\\)"):
        embed(torch.zeros(1, 3, 8, 8), [RED, VV])
    with pytest.raises(InputError, match="0 channels for 0 bands \\(none\\)"):
        embed(torch.zeros(1, 0, 8, 8), [])
    with pytest.raises(InputError, match=r"8 x 10 pixels.*8 x 8 and 8 x 12 fit"):
        embed(torch.zeros(1, 1, 8, 10), [RED])
    with pytest.raises(InputError, match="4 x 4 and 4 x 4 fit"):
        embed(torch.zeros(1, 1, 3, 2), [RED])
