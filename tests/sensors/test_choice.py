from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import Band, BandChoice, BandPlan, InputError, MissingBandsError, load_sensor

S2 = load_sensor("sentinel-2-l2a").channels
L8 = load_sensor("landsat-8-c2-l2").channels
RGB = load_sensor("rgb-aerial").channels
S1 = load_sensor("sentinel-1-grd").channels
ENMAP = load_sensor("enmap-l2a").channels
ALL = (*S2, *L8, *RGB, *S1)


def names(channels):
    return [channel.name for channel in channels]


def test_landsat_is_taken_as_far_as_sentinel_2_is_known():
    choice = BandChoice.match(S2, L8)
    assert names(choice.bands) == [f"SR_B{number}" for number in range(1, 8)]  # no thermal one
    likened = [S2[match.sources[0]].name for match in choice.plan.matches]
    assert likened == ["B01", "B02", "B03", "B04", "B8A", "B11", "B12"]
    assert names(entry.wanted for entry in choice.missing) == ["B05", "B06", "B07", "B08", "B09"]
    assert choice.columns == tuple(range(7))


def test_own_bands_are_all_taken_as_they_are():
    choice = BandChoice.match(S2, S2)
    x_CHW = np.random.default_rng(0).random((len(S2), 2, 2))
    assert choice.bands == S2
    assert choice.apply(x_CHW) is x_CHW
    assert choice.look_up(x_CHW) is x_CHW
    assert choice.fit == (1.0, 1.0)
    assert choice.missing == ()


def test_radar_is_told_apart_by_polarisation_and_frequency():
    vv = next(channel for channel in S1 if channel.polarization == "VV")
    l_band = replace(vv, name="L", center_frequency=1.27)
    assert BandChoice.match([vv], [*S1, l_band, S2[3]]).bands == (vv,)


def test_statistics_follow_the_bands_they_are_of():
    mean_K11 = np.arange(len(S2), dtype=float)[:, None, None]
    order = [3, 0, 11]
    choice = BandChoice.match(S2, [S2[k] for k in order])
    assert choice.look_up(mean_K11)[:, 0, 0].tolist() == order


def test_a_broad_band_is_like_narrow_known_ones_together():
    narrow = [Band(f"n{i}", 0.6 + 0.01 * i, 0.01) for i in range(10)]
    broad = Band("broad", 0.645, 0.06)
    mean_K11 = np.linspace(1, 2, 10)[:, None, None]
    [match] = BandChoice.match(narrow, [broad]).plan.matches
    assert len(match.sources) > 3
    mixed = BandChoice.match(narrow, [broad]).look_up(mean_K11)
    assert mixed.item() == pytest.approx(1.5, abs=0.05)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_each_band_is_judged_for_itself(data):
    """Whatever stands beside it, in whatever order."""
    known = data.draw(st.sampled_from([S2, L8, RGB, S1, (*S2, *S1)]))
    given_ = data.draw(st.permutations(ALL))[: data.draw(st.integers(1, 12))]
    choice = BandChoice.match(known, given_)
    alone = [band for band in given_ if BandChoice.match(known, [band]).is_applicable]
    assert list(choice.bands) == alone
    assert choice.is_applicable is bool(alone)
    x_CHW = np.arange(len(given_))[:, None, None]
    assert choice.apply(x_CHW)[:, 0, 0].tolist() == [given_.index(band) for band in alone]
    assert all(0 <= share <= 1 for share in choice.fit)


@pytest.mark.parametrize("known", [S2, L8, RGB])
def test_fit_is_that_of_a_plan_where_all_is_served(known):
    plan, choice = BandPlan.match(known, S2), BandChoice.match(known, S2)
    if plan.is_applicable:
        assert choice.fit[0] == pytest.approx(plan.fit[0])
    assert (choice.fit[0] == 1) == (known == S2)


def test_if_nothing_is_alike_both_lists_are_named():
    choice = BandChoice.match(S1, RGB)
    assert not choice.is_applicable
    assert choice.fit == (0.0, 0.0)
    with pytest.raises(MissingBandsError, match=f"{RGB[0].name} .*known .VV") as caught:
        choice.require()
    assert [entry.wanted for entry in caught.value.missing] == list(S1)


@pytest.mark.parametrize(("known", "given_"), [(S2, (*L8, L8[2])), ((*S2, S2[0]), L8)])
def test_a_band_that_is_there_twice_is_refused(known, given_):
    with pytest.raises(InputError, match="twice"):
        BandChoice.match(known, given_)
