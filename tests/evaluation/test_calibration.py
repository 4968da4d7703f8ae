"""Calibration: torchmetrics' bins and error, added up from any split of the statements."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import BinaryCalibrationError

from evaluation.calibration import BINS, CalibrationError, bin_sums

statements = st.lists(
    st.tuples(
        st.one_of(
            st.floats(0, 1, width=32),
            st.integers(0, BINS).map(lambda edge: edge / BINS),  # where a bin ends
        ),
        st.booleans(),
        st.integers(0, 4),
    ),
    min_size=1,
)


@settings(deadline=None)
@given(statements)
def test_error_is_torchmetrics(given_statements):
    confidence, right, row = (torch.tensor(part) for part in zip(*given_statements, strict=True))
    confidence = confidence.float()
    sums = bin_sums(confidence, right, row, 5)
    found = CalibrationError(sums)(np.ones((1, 5)))["ece"].item()
    expected = BinaryCalibrationError(BINS)(confidence, right.long()).item()
    assert found == pytest.approx(expected, abs=1e-5)
    assert sums[..., 0].sum(1).tolist() == torch.bincount(row, minlength=5).tolist()


def test_worked_by_hand():
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = torch.tensor([1, 1, 1, 0, 1, 0])
    sums = bin_sums(confidence, right, torch.arange(6), 6)
    error = CalibrationError(sums)(np.array([[1.0] * 6, [1, 0, 0, 0, 0, 0]]))["ece"]
    assert error == pytest.approx([0.15 * 4 / 6, 0.1])


def test_rounding_above_one_is_certainty():
    sums = bin_sums(torch.tensor([1.0000001]), torch.tensor([True]), torch.tensor([0]), 1)
    assert sums[0, BINS, 0] == 1
