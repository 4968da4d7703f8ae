import numpy as np
import pytest

from evaluation.features import Features
from evaluation.majority import Majority
from evaluation.tasks import Task
from sensors import InputError


def features_of(targets):
    ids = tuple(map(str, range(len(targets))))
    empty = np.empty((len(targets), 0), np.float32)
    return Features(ids, None, empty, {}, None, np.asarray(targets), None, "")


def test_classes_by_frequency():
    task = Task("scene-classification", ("a", "b"))
    probe = Majority(task, np.array([0, 1, 1, 1]))
    answer = probe.predict(features_of([0, 1]))
    assert answer.tolist() == [[0.25, 0.75]] * 2


def test_labels_by_frequency():
    task = Task("scene-classification", ("a", "b"), multi_label=True)
    probe = Majority(task, np.array([[1, 0], [1, 1]]))
    assert probe.predict(features_of([[1, 0]])).tolist() == [[1, 0.5]]


def test_pixels_without_label_do_not_count():
    task = Task("semantic-segmentation", ("a", "b"))
    masks = np.array([[[0, 255], [1, 1]], [[255, 255], [1, 255]]])
    batches = list(Majority(task, masks).predict(features_of(masks)))
    assert [index.tolist() for index, _ in batches] == [[0], [1]]
    for _, answer_BKHW in batches:
        assert answer_BKHW.shape == (1, 2, 2, 2)
        assert np.allclose(answer_BKHW[0, :, 0, 0], [0.25, 0.75])


def test_values_by_their_mean():
    scenes = Task("regression", ("height",))
    probe = Majority(scenes, np.array([[1.0], [3.0], [np.nan]]))
    assert probe.predict(features_of([[0.0]])).tolist() == [[2.0]]
    pixels = Task("regression", ("height",), per_pixel=True)
    values = np.array([[[[1.0, np.nan], [2.0, 3.0]]]])
    ((_, answer_BKHW),) = Majority(pixels, values).predict(features_of(values))
    assert np.allclose(answer_BKHW, 2)


def test_nothing_labelled():
    with pytest.raises(InputError, match="no training sample has a label"):
        Majority(Task("semantic-segmentation", ("a", "b")), np.full((1, 2, 2), 255))
