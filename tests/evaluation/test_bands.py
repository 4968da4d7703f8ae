import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.bands import missing, serve, served
from sensors import MissingBandsError, load_sensor

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
