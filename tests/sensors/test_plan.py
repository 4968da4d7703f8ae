import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from sensors import Band, BandPlan, InputError, MissingBandsError, SarChannel, load_sensor
from sensors._overlap import overlap

s2 = load_sensor("sentinel-2-l1c")
s2_l2a = load_sensor("sentinel-2-l2a")
l7 = load_sensor("landsat-7-etm")
l8 = load_sensor("landsat-8-c2-l2")
hls = load_sensor("hls-s30")
s1 = load_sensor("sentinel-1-grd")
enmap = load_sensor("enmap-l2a")
naip = load_sensor("naip")


def served(plan):
    """Wanted name to the names that serve it."""
    return {m.wanted.name: [plan.given[i].name for i in m.sources] for m in plan.matches}


# --- expectations on real sensors ------------------------------------------------------------


def test_what_landsat_8_serves_of_sentinel_2():
    plan = BandPlan.match(s2.channels, l8.channels)
    assert served(plan) == {
        "B01": ["SR_B1"],
        "B02": ["SR_B2"],
        "B03": ["SR_B3"],
        "B04": ["SR_B4"],
        "B08": ["SR_B5"],
        "B8A": ["SR_B5"],
        "B11": ["SR_B6"],
        "B12": ["SR_B7"],
    }
    assert [m.wanted.name for m in plan.missing] == ["B05", "B06", "B07", "B09", "B10"]
    assert not plan.is_applicable


@pytest.mark.parametrize(
    ("wanted", "given_", "expected"),
    [
        (s2.select("B04", "B08", "B07", "B8A"), l7, {"B04": ["SR_B3"], "B08": ["SR_B4"]}),
        (s2.select("B02"), l7.select("SR_B2", "SR_B3"), {}),  # green is no blue
        (s2.select("B07", "B8A"), s2.select("B08"), {}),
        (s2.select("B08"), s2_l2a.select("B05", "B06", "B07", "B8A"), {"B08": ["B07", "B8A"]}),
        (s2.select("B12"), load_sensor("modis-terra"), {"B12": ["B07"]}),
        (l7.select("ST_B6"), l8, {"ST_B6": ["ST_B10"]}),
        (l7.select("ST_B6"), load_sensor("modis-terra"), {"ST_B6": ["B31", "B32"]}),
        (l7.select("SR_B2"), s2, {"SR_B2": ["B03"]}),  # and not a share of blue
        # A mix that gains little is not worth it: planet's blue alone, not with its neighbours.
        (s2.select("B02"), load_sensor("planetscope-8b"), {"B02": ["blue"]}),
        (naip.select("R", "G", "B"), load_sensor("rgb-aerial"), {n: [n] for n in "RGB"}),
    ],
)
def test_what_serves_what(wanted, given_, expected):
    assert served(BandPlan.match(wanted, getattr(given_, "channels", given_))) == expected


def test_narrow_bands_together_serve_a_broad_one():
    plan = BandPlan.match(s2.channels, enmap.channels).require()
    for match in plan.matches:
        assert match.overlap > 0.88
        assert len(match.sources) > 1
        for index in match.sources:
            distance = enmap.channels[index].center_wavelength - match.wanted.center_wavelength
            assert abs(distance) < match.wanted.full_width_half_max


def test_a_mix_of_enmap_bands_measures_what_sentinel_2_would():
    """A spectrum with a red edge, seen through both sensors' own responses."""

    def reflectance(wavelength):
        return 0.05 + 0.4 * norm.cdf(wavelength, 0.715, 0.02)

    def seen(band):
        sigma = band.full_width_half_max / 2.35482
        at = np.linspace(-4, 4, 2001)
        return np.average(reflectance(band.center_wavelength + sigma * at), weights=norm.pdf(at))

    wanted = s2.select("B03", "B04", "B05", "B06", "B07", "B8A")
    stack = np.array([seen(band) for band in enmap.channels])[:, None, None]
    measured = BandPlan.match(wanted, enmap.channels).apply(stack)[:, 0, 0]
    assert measured == pytest.approx([seen(band) for band in wanted], abs=0.01)
    # The nearest single band would not do at the red edge.
    nearest = min(enmap.channels, key=lambda band: abs(band.center_wavelength - 0.7041))
    assert abs(seen(nearest) - seen(s2["B05"])) > abs(measured[2] - seen(s2["B05"]))


def test_another_quantity_never_serves_and_is_named():
    plan = BandPlan.match(s2.select("B04"), naip.channels)
    (missing,) = plan.missing
    assert missing.nearest == naip["R"]
    assert missing.overlap > 0.5
    assert "measures brightness, not reflectance" in missing.reason
    twin = replace(s2["B04"], quantity="brightness")
    assert not BandPlan.match(s2.select("B04"), [twin]).is_applicable


def test_radar_is_matched_by_polarisation_and_frequency():
    rcm = SarChannel("RCM VV", "VV", 5.405, gsd=30)
    asar = SarChannel("ASAR VV", "VV", 5.331, gsd=30)
    palsar = SarChannel("PALSAR VH", "VH", 1.27, gsd=10)
    assert served(BandPlan.match(s1.channels, [palsar, asar, rcm])) == {"VV": ["RCM VV"]}
    assert served(BandPlan.match(s1.channels, [palsar, asar])) == {"VV": ["ASAR VV"]}
    (missing,) = BandPlan.match(s1.select("VH"), [palsar, asar, rcm]).missing
    assert missing.nearest == palsar
    (missing,) = BandPlan.match(s1.select("VV"), s2.channels).missing
    assert missing.nearest is None
    assert missing.reason == "no radar channel was given"
    (missing,) = BandPlan.match(s2.select("B04"), s1.channels).missing
    assert missing.reason == "no optical band was given"


# --- choices and errors ----------------------------------------------------------------------


def test_equal_responses_are_told_apart_by_gsd_then_name():
    wanted = Band("B04", 0.665, 0.03, gsd=10)
    fine, coarse = replace(wanted, name="fine"), replace(wanted, name="coarse", gsd=60)
    unknown = replace(wanted, name="unknown", gsd=None)
    assert served(BandPlan.match([wanted], [unknown, coarse, fine])) == {"B04": ["fine"]}
    assert served(BandPlan.match([wanted], [unknown, coarse])) == {"B04": ["coarse"]}
    assert served(BandPlan.match([wanted], [fine, wanted])) == {"B04": ["B04"]}
    again = replace(wanted, name="again")
    assert served(BandPlan.match([wanted], [fine, again])) == {"B04": ["again"]}


def test_of_equal_responses_in_a_mix_the_best_suited_one_is_used():
    coarse = [replace(band, gsd=300) for band in enmap.channels]
    alone = BandPlan.match(s2.select("B04"), enmap.channels)
    beside = BandPlan.match(s2.select("B04"), [*coarse, *enmap.channels])
    assert beside.matches[0].weights == alone.matches[0].weights
    assert [i - 224 for i in beside.matches[0].sources] == list(alone.matches[0].sources)


def test_the_threshold_is_kept():
    (b08,) = BandPlan.match(s2.select("B08"), l8.channels).matches
    assert BandPlan.match(s2.select("B08"), l8.channels, min_overlap=b08.overlap).is_applicable
    beyond = b08.overlap + 1e-6
    assert not BandPlan.match(s2.select("B08"), l8.channels, min_overlap=beyond).is_applicable


def test_a_band_given_twice_is_refused_and_named():
    twice = (*l8.channels, replace(l8["SR_B4"], scale=1.0))
    with pytest.raises(InputError, match=r"SR_B4 .* is there twice, as number 4 and 9"):
        BandPlan.match(s2.channels, twice)


def test_missing_bands_are_named_with_their_wavelength_and_the_nearest():
    plan = BandPlan.match(s2.select("B04", "B05", "B07"), l8.channels)
    with pytest.raises(MissingBandsError) as raised:
        plan.require()
    text = str(raised.value)
    assert text.startswith("2 of 3 wanted bands are missing:\n  B05 (0.7041 um")
    assert "nearest, SR_B4 (0.6546 um, " in text
    assert "is 0.0495 um away and overlaps by 0.02 of the 0.30 needed" in text
    assert "B07 (0.7828 um" in text
    assert raised.value.missing == plan.missing
    with pytest.raises(MissingBandsError):
        plan.apply(np.zeros((8, 2, 2), np.float32))
    assert isinstance(raised.value, InputError)
    assert pickle.loads(pickle.dumps(raised.value)).args == (text,)  # crosses process borders


def test_a_stack_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"3 channels \(shape \(3, 4, 5\)\), but 13 bands"):
        BandPlan.match(s2.channels, s2.channels).apply(np.zeros((3, 4, 5)))


def test_how_numbers_are_stored_makes_no_difference():
    harmonised = load_sensor("sentinel-2-l1c", "05.09")
    plan = BandPlan.match(s2.channels, harmonised.channels)
    assert {m.overlap for m in plan.matches} == {1.0}
    assert {c.offset for c in plan.given} == {-0.1}  # and a plan keeps what it was given


# --- applying --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_a_plan_that_changes_nothing_returns_the_stack_itself(make):
    plan = BandPlan.match(s2.channels, s2.channels)
    x = make(np.zeros((13, 2, 2), np.float32))
    valid = make(np.ones((13, 2, 2), bool))
    assert plan.apply(x) is x
    assert plan.apply_valid(valid) is valid


def test_applying_leaves_the_stack_as_it_was():
    x = np.random.default_rng(0).random((224, 3, 4), np.float32)
    before = x.copy()
    y = BandPlan.match(s2.channels, enmap.channels).apply(x)
    assert y.shape == (13, 3, 4)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(x, before)


def test_a_mix_is_valid_where_all_its_sources_are():
    plan = BandPlan.match(s2.select("B04", "B08"), s2_l2a.select("B04", "B07", "B8A"))
    valid = np.ones((3, 1, 4), bool)
    valid[0, 0, 0] = valid[1, 0, 1] = valid[2, 0, 2] = False
    expected = [[[False, True, True, True]], [[True, False, False, True]]]
    assert plan.apply_valid(valid).tolist() == expected
    assert plan.apply_valid(torch.as_tensor(valid)).tolist() == expected


@pytest.mark.parametrize("given_", [enmap, s2_l2a, l8])
def test_numpy_and_torch_agree(given_):
    x = np.random.default_rng(0).random((2, len(given_.channels), 3, 4), np.float32)
    plan = BandPlan.match(s2.select("B03", "B8A", "B04", "B12"), given_.channels)
    as_numpy, as_torch = plan.apply(x), plan.apply(torch.as_tensor(x))
    np.testing.assert_allclose(as_torch.numpy(), as_numpy, rtol=1e-6)
    assert as_torch.dtype == torch.float32


def test_gradients_flow_through_a_plan():
    x = torch.rand(1, 224, 2, 2, requires_grad=True)
    plan = BandPlan.match(s2.select("B04"), enmap.channels)
    plan.apply(x).sum().backward()
    weights = np.zeros(224)
    weights[list(plan.matches[0].sources)] = plan.matches[0].weights
    np.testing.assert_allclose(x.grad[0, :, 0, 0].numpy(), weights, rtol=1e-6)


def test_planning_is_quick_and_remembered():
    fresh = tuple(replace(band, gsd=31) for band in enmap.channels)
    start = time.perf_counter()
    first = BandPlan.match(s2.channels, fresh)
    middle = time.perf_counter()
    assert BandPlan.match(s2.channels, fresh) == first
    # 20 ms and 0.1 ms on one core; the bounds leave room for a busy machine.
    assert middle - start < 0.5
    assert time.perf_counter() - middle < 0.05


# --- properties ------------------------------------------------------------------------------

optical = st.builds(
    Band,
    name=st.sampled_from("abcdef"),
    center_wavelength=st.floats(0.4, 0.9).map(lambda v: round(v, 3)),
    full_width_half_max=st.floats(0.005, 0.12).map(lambda v: round(v, 3)),
    gsd=st.sampled_from([None, 10, 30]),
)
radar = st.builds(
    SarChannel,
    name=st.sampled_from("abcdef"),
    polarization=st.sampled_from(["VV", "VH"]),
    center_frequency=st.sampled_from([1.27, 5.331, 5.405]),
)
stacks = st.lists(optical | radar, min_size=1, max_size=12, unique=True)
wishes = st.lists(optical | radar, min_size=1, max_size=5)


def pixels(count, seed=0):
    return np.random.default_rng(seed).random((count, 2, 3), np.float32)


def matched(plan):
    """The plan without what is missing, so that it can be applied."""
    return BandPlan(tuple(m.wanted for m in plan.matches), plan.given, plan.matches, ())


@settings(deadline=None)
@given(wishes, stacks, st.randoms())
def test_the_order_of_the_given_bands_never_matters(wanted, stack, random):
    order = list(range(len(stack)))
    random.shuffle(order)
    plan = BandPlan.match(wanted, stack)
    shuffled = BandPlan.match(wanted, [stack[i] for i in order])
    assert shuffled.missing == plan.missing
    x = pixels(len(stack))
    np.testing.assert_array_equal(matched(shuffled).apply(x[order]), matched(plan).apply(x))
    valid = x > 0.5
    np.testing.assert_array_equal(
        matched(shuffled).apply_valid(valid[order]), matched(plan).apply_valid(valid)
    )


@settings(deadline=None)
@given(wishes, stacks)
def test_unrelated_bands_change_nothing(wanted, stack):
    unrelated = (
        *l8.select("SR_B7", "ST_B10"),
        naip["R"],
        SarChannel("X", "HH", 9.6),
        Band("far", 2.4, 0.01),
    )
    plan = BandPlan.match(wanted, stack)
    more = BandPlan.match(wanted, [*unrelated, *stack])
    assert [m.wanted for m in more.matches] == [m.wanted for m in plan.matches]
    x = pixels(len(stack))
    dead = np.full((len(unrelated), 2, 3), np.nan, np.float32)
    np.testing.assert_array_equal(
        matched(more).apply(np.concatenate([dead, x])), matched(plan).apply(x)
    )


@settings(deadline=None)
@given(stacks, st.data())
def test_a_wanted_band_that_is_there_is_chosen_alone(stack, data):
    wanted = data.draw(st.sampled_from(stack))
    (match,) = BandPlan.match([wanted], stack).require().matches
    assert match.weights == (1.0,)
    assert match.overlap == 1.0
    assert stack[match.sources[0]] == wanted


@settings(deadline=None)
@given(wishes, stacks)
def test_weights_sum_to_1_and_a_flat_spectrum_stays_flat(wanted, stack):
    plan = BandPlan.match(wanted, stack)
    for match in plan.matches:
        assert len(match.sources) == len(match.weights) == len(set(match.sources))
        assert min(match.weights) > 0
        assert sum(match.weights) == pytest.approx(1, abs=1e-12)
        assert 0.3 <= match.overlap <= 1
    flat = np.full((len(stack), 2, 2), 0.37, np.float32)
    np.testing.assert_allclose(matched(plan).apply(flat), 0.37, rtol=1e-6)


@settings(deadline=None)
@given(optical, optical, st.floats(0.05, 0.95))
def test_a_band_is_missing_exactly_when_its_overlap_is_below_the_threshold(wanted, band, least):
    shared = overlap(wanted, band)
    assume(abs(shared - least) > 1e-9)
    plan = BandPlan.match([wanted], [band], min_overlap=least)
    assert plan.is_applicable == (shared > least)
    (result,) = plan.matches + plan.missing
    assert result.overlap == pytest.approx(shared, abs=1e-12)


@settings(deadline=None)
@given(optical, optical)
def test_the_overlap_is_the_integral_of_the_lesser_response(first, second):
    def response(band, at):
        return norm.pdf(at, band.center_wavelength, band.full_width_half_max / 2.354820045)

    grid, step = np.linspace(0, 1.4, 200_001, retstep=True)
    area = np.minimum(response(first, grid), response(second, grid)).sum() * step
    assert overlap(first, second) == pytest.approx(area, abs=1e-6)
    assert overlap(first, second) == overlap(second, first)
