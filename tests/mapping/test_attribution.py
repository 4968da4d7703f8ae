import numpy as np

from mapping._attribution import NOBODY, ChoiceRows
from mapping.windows import plan_windows


def test_the_window_that_counts_most_wins():
    plan = plan_windows(40, 50, 16, 0.5)
    rows = ChoiceRows(16, 0, 50)
    choices, weights = [], []
    found = []
    for row, below in zip(plan.rows, (*plan.rows[1:], 40), strict=True):
        for column in plan.columns:
            choice = len(choices)
            rows.add(choice, plan.weight_HW(row, column), row, column)
            choices.append(choice)
            full = np.zeros((40, 50), np.float32)
            full[row : row + 16, column : column + 16] = plan.weight_HW(row, column)
            weights.append(full)
        found.append(rows.finish(below))
    assert np.array_equal(np.concatenate(found), np.argmax(weights, axis=0))


def test_what_no_window_reached_is_nobodys():
    rows = ChoiceRows(4, 10, 20)
    rows.add(3, np.ones((4, 6), np.float32), 0, 6)
    rows.add(1, np.full((4, 4), 0.5, np.float32), 0, 10)
    first = rows.finish(4)
    assert (first[:, :2] == 3).all()
    assert (first[:, 2:4] == 1).all()
    assert (first[:, 4:] == NOBODY).all()
    assert (rows.finish(8) == NOBODY).all()
