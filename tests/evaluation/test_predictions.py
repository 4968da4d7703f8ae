"""Predictions: kept exactly, read back exactly, and only sensible ones taken."""

import numpy as np
import pytest
import torch

from evaluation.predictions import PredictionsBuilder, ScenePredictions, load_predictions
from evaluation.scores import score
from evaluation.tasks import Task
from sensors import InputError

SCENES = Task("scene-classification", ("a", "b"))
PIXELS = Task("semantic-segmentation", ("a", "b"))


def three_scenes(**changes):
    options = {
        "task": SCENES,
        "ids": ("x", "y", "zürich"),
        "prediction_NK": [[0.9, 0.1], [0.4, 0.6], [1.0, 0.0]],
        "target": [0, 1, 1],
    }
    return ScenePredictions.of(**options | changes)


def two_chips():
    builder = PredictionsBuilder(PIXELS, groups={"x": "north", "y": "south"})
    for name in ("y", "x"):
        builder.update(torch.full((1, 2, 3, 3), 0.5), torch.zeros(1, 3, 3), [name])
    return builder.build()


def two_maps():
    builder = PredictionsBuilder(Task("regression", ("height",), per_pixel=True))
    builder.update(np.ones((2, 1, 3, 3)), np.full((2, 3, 3), 3.0), ["x", "y"])
    return builder.build()


@pytest.mark.parametrize(
    "predictions",
    [
        three_scenes(),
        three_scenes(groups=("north", "north", "south")),
        three_scenes(
            task=Task("scene-classification", ("a", "b"), multi_label=True),
            target=[[0, 1], [1, 1], [0, 0]],
        ),
        two_chips(),
        two_maps(),
    ],
)
def test_what_is_written_is_read(predictions, tmp_path):
    path = tmp_path / "new folder" / "cell.npz"
    predictions.save(path)
    again = load_predictions(path)
    assert type(again) is type(predictions)
    assert (again.task, again.ids, again.groups) == (
        predictions.task,
        predictions.ids,
        predictions.groups,
    )
    for name, value in score(predictions).items():
        np.testing.assert_array_equal(score(again)[name], value)
    assert [entry.name for entry in path.parent.iterdir()] == ["cell.npz"]


def test_groups_follow_their_samples():
    assert two_chips().ids == ("y", "x")
    assert two_chips().groups == ("south", "north")


@pytest.mark.filterwarnings("error")
def test_arrays_may_be_read_only():
    prediction, mask = np.full((1, 2, 3, 3), 0.5), np.zeros((1, 3, 3), np.uint8)
    for values in (prediction, mask):
        values.flags.writeable = False
    builder = PredictionsBuilder(PIXELS)
    builder.update(prediction, mask, ["x"])
    assert score(builder.build())["accuracy"] == 1


def test_unlabelled_chips_count_nothing():
    builder = PredictionsBuilder(PIXELS)
    builder.update(torch.full((1, 2, 3, 3), 0.5), torch.full((1, 3, 3), 255), ["x"])
    assert np.isnan(score(builder.build())["miou"])


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "delete it"), (b"PK\x03\x04 half", "delete it")],
)
def test_damaged_files_are_named(content, said, tmp_path):
    path = tmp_path / "cell.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"cell\.npz.*{said}"):
        load_predictions(path)


def test_cut_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "cell.npz"
    three_scenes().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="delete it"):
        load_predictions(path)
    np.savez(path, header='{"format": 99}')
    with pytest.raises(InputError, match="format 99, this version reads 1; delete"):
        load_predictions(path)
    np.savez(path, header=np.array({"format": 1}, dtype=object))
    with pytest.raises(InputError, match="delete it"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": ("x", "x", "y")}, "x: there are two"),
        ({"ids": (), "prediction_NK": np.zeros((0, 2)), "target": []}, "at least one"),
        ({"groups": ("north",)}, "3 samples have 1 rows of groups"),
        ({"prediction_NK": [[0.9, 0.1]]}, r"\(1, 2\), expected \(N, K\) = \(3, 2\)"),
        ({"target": [[0], [1], [1]]}, r"targets are \(3, 1\), expected \(3,\)"),
        ({"target": [0, 1, 2]}, r"target 2 is not one of 0\.\.1"),
        ({"prediction_NK": [[np.nan, 1], [0, 1], [0, 1]]}, "1 of 6 predictions are not finite"),
        ({"prediction_NK": [[-3, 4], [0, 1], [0, 1]]}, r"2 of 6 predictions are not within 0\.\.1"),
    ],
)
def test_what_is_no_prediction_is_named(changes, said):
    with pytest.raises(InputError, match=said):
        three_scenes(**changes)


@pytest.mark.parametrize(
    ("prediction", "mask", "said"),
    [
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), r"expected \(1, 2, 4, 4\)"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 8, 8), r"masks \(1, 8, 8\)"),
        (torch.zeros(1, 2, 4, 4), torch.full((1, 4, 4), 2), r"target 2 is not one of 0\.\.1"),
        (torch.full((1, 2, 4, 4), torch.inf), torch.zeros(1, 4, 4), "not finite"),
        (torch.full((1, 2, 4, 4), 7.0), torch.zeros(1, 4, 4), "not logits"),
    ],
)
def test_pixels_that_do_not_fit_are_named(prediction, mask, said):
    with pytest.raises(InputError, match=said):
        PredictionsBuilder(PIXELS).update(prediction, mask, ["x"])


def test_a_builder_needs_pixels():
    with pytest.raises(InputError, match="ScenePredictions"):
        PredictionsBuilder(SCENES)
    with pytest.raises(InputError, match="at least one batch"):
        PredictionsBuilder(PIXELS).build()
