import pytest
import torch

from router.composing.sensor_dropout import SensorDropout, kind_of_sensor
from sensors import Band, SarChannel

BANDS = (
    Band("red", 0.665, 0.03),
    SarChannel("VV", "VV", 5.405),
    Band("thermal", 10.9, 0.6, quantity="temperature"),
    Band("picture", 0.55, 0.1, quantity="brightness"),
    SarChannel("VH", "VH", 5.405),
    Band("hot", 10.9, 0.6),
)
KINDS = ["optical", "radar", "thermal", "optical", "radar", "optical"]


def lose(probability, batch=3000, absent=(), order=range(6)):
    """Which bands are left of each image, (B, C) in the order of `BANDS`."""
    order = list(order)
    valid = torch.ones(batch, 6, 2, 2, dtype=torch.bool)
    valid[:, :, 0, 0] = False
    valid[:, list(absent)] = False
    torch.manual_seed(0)
    bands = [BANDS[place] for place in order]
    made = SensorDropout(bands, probability)(
        {"image": valid[:, order] * 1.0, "valid": valid[:, order]}
    )
    back = torch.tensor(order).argsort()
    assert torch.equal(made["image"] > 0, made["valid"])
    assert not made["valid"][:, :, 0, 0].any()
    return made["valid"][:, back].flatten(2).any(2)


def test_the_kind_follows_from_what_a_band_measures():
    assert [kind_of_sensor(band) for band in BANDS] == KINDS


def test_one_kind_is_lost_with_all_its_bands():
    left_BC = lose(0.6)
    kinds_BK = torch.stack([left_BC[:, [k == kind for k in KINDS]] for kind in ("optical",)])
    assert (kinds_BK.all(2) | ~kinds_BK.any(2)).all()
    lost = [~left_BC[:, place] for place in (0, 1, 2)]
    for rows in lost:
        assert rows.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert torch.stack(lost).sum(0).max() == 1
    assert torch.equal(left_BC[:, 1], left_BC[:, 4])


def test_the_last_sensor_stays():
    left_BC = lose(1.0, absent=(1, 2, 4))
    assert left_BC[:, [0, 3, 5]].all()
    # Of two that an image has, one goes, and never the one that it does not have.
    left_BC = lose(1.0, absent=(2,))
    assert torch.equal(left_BC[:, 0], ~left_BC[:, 1])


def test_nothing_is_lost_at_0():
    assert lose(0.0).all()


def test_the_order_of_bands_changes_nothing():
    assert torch.equal(lose(0.5), lose(0.5, order=[4, 2, 0, 5, 1, 3]))
