import pytest
import torch

from router.band_statistics import QUANTITY_STATISTICS, add_statistics
from sensors import Band, InputError, SarChannel, load_sensor

GREEN, NIR = Band("green", 0.5, 0.05), Band("nir", 0.9, 0.1)
C_VV, L_VV = SarChannel("VV", "VV", 5.4), SarChannel("L-VV", "VV", 1.3)


@pytest.fixture
def trunk(make_trunk):
    return make_trunk(
        bands=(NIR, GREEN, C_VV, L_VV), mean=(0.3, 0.1, -11, -15), std=(0.1, 0.05, 4, 5)
    )


def test_known_bands_have_their_own_statistics_whatever_their_name(trunk):
    assert trunk.scaling.statistics(Band("B8", 0.9, 0.02)) == (0.3, 0.1)
    assert trunk.scaling.statistics(SarChannel("x", "VV", 1.3)) == (-15, 5)


def test_bands_between_known_ones_are_interpolated_by_wavelength(trunk):
    assert trunk.scaling.statistics(Band("red", 0.7, 0.03)) == pytest.approx((0.2, 0.075))
    assert trunk.scaling.statistics(Band("swir", 2.2, 0.1)) == pytest.approx((0.3, 0.1))
    assert trunk.scaling.statistics(SarChannel("X", "VV", 9.6)) == (-11, 4)


def test_what_nothing_is_known_of_has_round_numbers_of_its_quantity(trunk):
    for band in (
        Band("picture", 0.66, 0.06, quantity="brightness"),
        Band("thermal", 11.0, 1.0, quantity="temperature"),
        SarChannel("VH", "VH", 5.4),
    ):
        assert trunk.scaling.statistics(band) == QUANTITY_STATISTICS[band.quantity]


def test_normalised_pixels_have_mean_0_and_deviation_1(trunk):
    x_BCHW = torch.randn(2, 2, 64, 64) * 0.1 + 0.3
    normalised = trunk.normalize(x_BCHW, [NIR, Band("other", 0.95, 0.02)])
    assert normalised.mean((0, 2, 3)).tolist() == pytest.approx([0, 0], abs=0.05)
    assert normalised.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.05)


def test_bands_of_the_spec_need_not_be_given_again(trunk):
    x_BCHW = torch.randn(1, 4, 16, 16)
    assert torch.equal(trunk.embed(x_BCHW), trunk.embed(x_BCHW, trunk.spec.bands))


def test_statistics_can_be_set(make_trunk):
    trunk = make_trunk()
    bands = load_sensor("sentinel-2-l2a").channels
    x_BCHW = torch.rand(1, 12, 32, 32)
    before = trunk.normalize(x_BCHW, bands)
    trunk.set_statistics(bands, [0.5] * 12, [0.25] * 12)
    assert trunk.spec.mean == (0.5,) * 12
    after = trunk.normalize(x_BCHW, bands)
    torch.testing.assert_close(after, (x_BCHW - 0.5) / 0.25)
    assert not torch.allclose(before, after)
    for mean, std, message in (
        ([0.5], [0.2] * 12, "12 bands with 1 means and 12 standard deviations"),
        ([0.5] * 12, [0.2] * 11 + [0.0], "B12 has mean 0.5 and standard deviation 0.0"),
    ):
        with pytest.raises(InputError, match=message):
            trunk.set_statistics(bands, mean, std)


def test_further_bands_join_and_known_ones_keep_theirs(trunk):
    red, again = Band("red", 0.65, 0.03), Band("another name", 0.9, 0.3)
    spec = add_statistics(trunk.spec, (red, again), (0.7, 0.8), (0.2, 0.3))
    assert spec.bands == (*trunk.spec.bands, red)
    assert (spec.mean[-1], spec.std[-1]) == (0.7, 0.2)
    assert (spec.mean[:-1], spec.std[:-1]) == (trunk.spec.mean, trunk.spec.std)
