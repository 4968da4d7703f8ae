import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.blending import BlendingRows
from mapping.windows import plan_windows


def blend(scene_KHW, window, overlap, left, right):
    """Cut a map into windows, blend them again, and give back the stripe left..right."""
    plan = plan_windows(*scene_KHW.shape[1:], window, overlap)
    rows = BlendingRows(len(scene_KHW), plan.window_height, left, right)
    parts = []
    for row, below in zip(plan.rows, (*plan.rows[1:], plan.height), strict=True):
        for column in plan.columns_touching(left, right):
            cut = scene_KHW[:, row : row + plan.window_height, column : column + plan.window_width]
            rows.add(cut, plan.weight_HW(row, column), row, column)
        parts.append(rows.finish(below))
    return np.concatenate(parts, axis=1)


@settings(deadline=None)  # other work on the machine makes times vary
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 30),
    st.floats(0, 0.85),
    st.floats(-1e3, 1e3, width=32),
)
def test_a_constant_stays_that_constant(height, width, window, overlap, value):
    scene = np.full((1, height, width), value, np.float32)
    blended = blend(scene, window, overlap, 0, width)
    assert np.allclose(blended, value, rtol=1e-5)


@settings(deadline=None)  # other work on the machine makes times vary
@given(st.integers(0, 1000), st.integers(0, 39), st.integers(1, 40), st.integers(1, 20))
def test_windows_that_agree_give_back_the_scene_in_any_stripe(seed, left, stripe, window):
    scene = np.random.default_rng(seed).random((3, 33, 40), np.float32)
    right = min(left + stripe, 40)
    blended = blend(scene, window, 0.5, left, right)
    assert np.allclose(blended, scene[:, :, left:right], atol=1e-5)


def test_windows_that_disagree_meet_without_a_step():
    rows = BlendingRows(1, 8, 0, 12)
    plan = plan_windows(8, 12, window=8, overlap=0.5)
    for value, column in zip((0.0, 1.0), plan.columns, strict=True):
        rows.add(np.full((1, 8, 8), value, np.float32), plan.weight_HW(0, column), 0, column)
    values = rows.finish(8)
    across = values[0, 0]
    assert across[0] == 0
    assert across[-1] == 1
    assert (np.diff(across) >= 0).all()
    assert np.diff(across).max() < 0.4


def test_where_no_window_reached_is_zero():
    rows = BlendingRows(2, 4, 0, 6)
    rows.add(np.ones((2, 4, 3), np.float32), np.ones((4, 3), np.float32), 0, 0)
    values = rows.finish(4)
    assert (values[:, :, :3] == 1).all()
    assert (values[:, :, 3:] == 0).all()
