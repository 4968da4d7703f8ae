"""Who can run: members that need all of their bands beside one that takes any it knows."""

import pytest
import torch

from router.applicability import describe_missing, fit_members
from router.composing.parts import check_bands
from sensors import InputError
from tests.router.ensembles import ALL, NIR, RED, SWIR, VV, make_ensemble, make_images, make_member

INFRARED, ANY = "infrared@1.0.0", "any@1.0.0"


@pytest.fixture(scope="module")
def ensemble():
    members = [
        make_member("infrared", (NIR, SWIR)),
        make_member("any", (RED, NIR, SWIR), stem="wavelength"),
    ]
    return make_ensemble(None, members, gate="sensor", top_k=2)


def columns(*bands):
    return [ALL.index(band) for band in bands]


@pytest.mark.parametrize(
    ("bands", "able"),
    [
        ((RED, NIR, SWIR), {INFRARED, ANY}),
        ((NIR,), {ANY}),
        ((RED, VV), {ANY}),
    ],
)
def test_any_known_band_is_enough(ensemble, bands, able):
    x_BCHW = make_images(2)[:, columns(*bands)]
    weights = ensemble.gate_weights(x_BCHW, bands)
    assert {name for name, weights_B in weights.items() if (weights_B > 0).all()} == able
    levels = ensemble.forward_features(x_BCHW, bands)
    assert all(level.isfinite().all() for level in levels)


def test_bands_that_an_image_has_not_are_told_apart_image_by_image(ensemble):
    usable = torch.ones(3, 3, 4, 4, dtype=torch.bool)
    usable[0, 2] = False  # no SWIR
    usable[1, :2] = False  # nothing but VV, see the bands below
    usable[1, 2] = True
    applicable_BM, match_BM2 = fit_members(usable, (NIR, VV, SWIR), ensemble.members)
    names = [member.reference for member in ensemble.members]
    assert applicable_BM[:, names.index(ANY)].tolist() == [True, True, True]
    assert applicable_BM[:, names.index(INFRARED)].tolist() == [False, False, True]
    fit = match_BM2[:, names.index(ANY)].tolist()
    # Of its three bands NIR, SWIR, both; of the image's one of two, one of one, two of three.
    assert fit == [pytest.approx(pair) for pair in [(1 / 3, 1 / 2), (1 / 3, 1), (2 / 3, 2 / 3)]]


def test_who_knows_nothing_that_is_there_is_named(ensemble):
    [explained] = ensemble.explain(make_images(1)[:, columns(NIR)], (NIR,))
    assert list(explained.weights) == [ANY]
    assert list(explained.missing) == [INFRARED]
    with pytest.raises(InputError, match=r"any@1\.0\.0: .*missing all of red .*, nir .*, swir"):
        check_bands(ensemble, (VV,), 0.0)
    [line] = check_bands(ensemble, (RED,), 0.0)
    assert line.startswith(INFRARED)


def test_missing_bands_are_told_in_a_phrase(ensemble):
    phrases = {
        member.reference: describe_missing(member.network.spec.match((VV,)))
        for member in ensemble.members
    }
    assert phrases[INFRARED].startswith("nir (")
    assert phrases[ANY].startswith("all of red (")
