import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.bands import as_sensor, missing, sensor_channels, serve, served
from sensors import BandPlan, InputError, MissingBandsError, load_sensor

SENTINEL_2 = load_sensor("sentinel-2-l2a")
RGBN = SENTINEL_2.select("B02", "B03", "B04", "B08")


def make_stack(bands, shape=(2,)):
    torch.manual_seed(0)
    x = torch.rand(*shape, len(bands), 5, 6)
    return x, x > 0.2


def test_what_is_not_there_is_present_but_nowhere_valid():
    x, valid = make_stack(RGBN)
    wanted = SENTINEL_2.select("B04", "B11", "B02")
    pixels, bands, is_valid = serve(x, RGBN, valid, wanted)
    assert bands == wanted
    assert torch.equal(pixels[:, [0, 2]], x[:, [2, 0]])
    assert torch.equal(is_valid[:, [0, 2]], valid[:, [2, 0]])
    assert not pixels[:, 1].any()
    assert not is_valid[:, 1].any()
    assert missing(wanted, RGBN) == SENTINEL_2.select("B11")
    assert served(wanted, RGBN) == SENTINEL_2.select("B04", "B02")


def test_an_image_alone_is_served_as_a_batch_is():
    x, valid = make_stack(RGBN, shape=())
    wanted = SENTINEL_2.select("B03", "B12")
    alone = serve(x, RGBN, valid, wanted)
    batch = serve(x[None], RGBN, valid[None], wanted)
    assert torch.equal(alone[0], batch[0][0])
    assert torch.equal(alone[2], batch[2][0])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(SENTINEL_2.names), min_size=1, unique=True),
    st.lists(st.sampled_from(SENTINEL_2.names), min_size=1, unique=True),
    st.randoms(),
)
def test_the_order_of_the_given_bands_has_no_influence(given_names, wanted_names, random):
    given, wanted = SENTINEL_2.select(*given_names), SENTINEL_2.select(*wanted_names)
    if len(missing(wanted, given)) == len(wanted):
        return
    x, valid = make_stack(given)
    order = list(range(len(given)))
    random.shuffle(order)
    one = serve(x, given, valid, wanted)
    other = serve(x[:, order], tuple(given[k] for k in order), valid[:, order], wanted)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[2], other[2])


def test_with_none_of_the_bands_there_is_nothing_to_serve():
    x, valid = make_stack(RGBN)
    with pytest.raises(MissingBandsError, match="B11"):
        serve(x, RGBN, valid, SENTINEL_2.select("B11", "B12"))


def test_another_sensor_delivers_its_own_bands():
    x, valid = make_stack(RGBN)
    pixels, bands, is_valid = as_sensor(x, RGBN, valid, "landsat-8-c2-l2")
    names = [band.name for band in bands]
    assert {"SR_B2", "SR_B3", "SR_B4", "SR_B5"} <= set(names)
    assert "SR_B6" not in names  # short-wave infrared, which no given band serves
    plan = BandPlan.match(bands, RGBN)
    assert torch.equal(pixels, plan.apply(x))
    assert torch.equal(is_valid, plan.apply_valid(valid))
    assert bands == sensor_channels(RGBN, "landsat-8-c2-l2")


def test_a_sensor_of_another_kind_is_refused():
    x, valid = make_stack(RGBN)
    with pytest.raises(MissingBandsError, match="none of the bands of sentinel-1-grd"):
        as_sensor(x, RGBN, valid, "sentinel-1-grd")
    with pytest.raises(InputError, match="no sensor"):
        as_sensor(x, RGBN, valid, "sentinel-99")
