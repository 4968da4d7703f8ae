import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.windows import plan_windows
from sensors.errors import InputError

scenes = st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.floats(0, 0.8))


@settings(deadline=None)  # other work on the machine makes times vary
@given(scenes)
def test_windows_cover_every_pixel_with_positive_weight(scene):
    height, width, window, overlap = scene
    plan = plan_windows(height, width, window, overlap)
    total = np.zeros((height, width))
    for row, column in plan:
        weight = plan.weight_HW(row, column)
        assert weight.shape == (min(window, height), min(window, width))
        assert 0 < weight.min() <= weight.max() <= 1
        total[row : row + plan.window_height, column : column + plan.window_width] += weight
    assert total.min() > 0


@settings(deadline=None)  # other work on the machine makes times vary
@given(scenes)
def test_windows_stay_inside_and_share_at_least_the_overlap(scene):
    height, width, window, overlap = scene
    plan = plan_windows(height, width, window, overlap)
    for starts, side, length in (
        (plan.rows, plan.window_height, height),
        (plan.columns, plan.window_width, width),
    ):
        assert starts[0] == 0
        assert starts[-1] + side == length
        # Half a pixel for the rounded stride, half for each rounded start.
        assert all(0 < gap <= side * (1 - overlap) + 1.5 for gap in np.diff(starts))


def test_spacing_is_the_stride_where_it_divides_the_scene():
    plan = plan_windows(256, 128, window=64, overlap=0.5)
    assert plan.rows == (0, 32, 64, 96, 128, 160, 192)
    assert plan.columns == (0, 32, 64)
    assert len(plan) == 21


def test_a_scene_smaller_than_a_window_is_one_window_of_its_size():
    plan = plan_windows(5, 1, window=64, overlap=0.5)
    assert list(plan) == [(0, 0)]
    assert (plan.weight_HW(0, 0) == np.ones((5, 1))).all()


def test_weight_is_high_at_the_scenes_edge_and_low_at_an_inner_one():
    plan = plan_windows(200, 200, window=64, overlap=0.5)
    corner = plan.weight_HW(0, 0)
    assert corner[0, 0] == 1
    assert corner[-1, -1] < 1e-3
    last = plan.weight_HW(plan.rows[-1], plan.columns[-1])
    assert last[-1, -1] == 1
    assert last[0, 0] < 1e-3


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_overlap_outside_its_range_is_refused(overlap):
    with pytest.raises(InputError, match="overlap"):
        plan_windows(10, 10, 4, overlap)


def test_empty_window_is_refused():
    with pytest.raises(InputError, match="1 or more"):
        plan_windows(10, 10, 0, 0.5)
