"""Labels of a training split: counted, scaled, and refused where there is nothing to learn."""

import pytest
import torch

from sensors import InputError
from specialists.targets import count_classes, measure_targets


def labels(*values):
    return [{"label": torch.tensor(value)} for value in values]


def masks(*values):
    return [{"mask": torch.tensor(value)} for value in values]


def test_scenes_flags_and_pixels_are_counted():
    assert count_classes(labels(0, 1, 1), ["a", "b"]).tolist() == [1, 2]
    flags = labels([1.0, 0.0], [1.0, 1.0])
    assert count_classes(flags, ["a", "b"]).tolist() == [2, 1]
    pixels = masks([[0, 255], [1, 1]], [[255, 255], [255, 0]])
    assert count_classes(pixels, ["a", "b"]).tolist() == [2, 2]


def test_empty_classes_are_named():
    with pytest.raises(InputError, match="class snow, ice"):
        count_classes(labels(0, 0), ["rock", "snow", "ice"])


def test_a_class_may_be_absent_where_scenes_have_several():
    assert count_classes(labels([1.0, 0.0], [1.0, 0.0]), ["a", "b"]).tolist() == [2, 0]
    with pytest.raises(InputError, match="class a, b"):
        count_classes(labels([0.0, 0.0]), ["a", "b"])


def test_values_are_measured_where_known():
    chips = masks([[[1.0, 3.0]], [[10.0, 10.0]]], [[[torch.nan, 5.0]], [[20.0, 20.0]]])
    mean, std = measure_targets(chips, ["a", "b"])
    assert mean == pytest.approx([3, 15])
    assert std == pytest.approx([(8 / 3) ** 0.5, 5])


@pytest.mark.parametrize("values", [([2.0], [2.0]), ([torch.nan], [torch.nan])])
def test_target_that_never_varies_is_named(values):
    with pytest.raises(InputError, match="target height"):
        measure_targets(labels(*values), ["height"])
