import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from evaluation.knn import KNNModel
from evaluation.tasks import Task
from sensors import InputError

SCENES = Task("scene-classification", ("water", "forest", "town"))
LABELS = Task("scene-classification", ("water", "forest", "town"), multi_label=True)
VALUES = Task("regression", ("height", "biomass"))


def draw(count, seed=0, width=8):
    return np.random.default_rng(seed).normal(1, 1, (count, width)).astype(np.float32)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5])
def test_votes_are_those_of_scikit_learns_classifier(distance, k):
    train, test = draw(60), draw(40, seed=1)
    classes = np.random.default_rng(2).integers(0, 3, 60)
    reference = KNeighborsClassifier(k, metric=distance).fit(train, classes)
    probability = KNNModel(SCENES, train, classes, k=k, distance=distance).predict(test)
    np.testing.assert_allclose(probability, reference.predict_proba(test), atol=1e-6)
    np.testing.assert_array_equal(probability.argmax(1), reference.predict(test))
    assert probability.dtype == np.float32


def test_a_class_without_a_training_sample_gets_no_vote():
    probability = KNNModel(SCENES, draw(30), np.arange(30) % 2 * 2).predict(draw(10, seed=1))
    assert probability.shape == (10, 3)
    assert (probability[:, 1] == 0).all()
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_labels_are_voted_on_one_by_one(distance):
    train, test = draw(60), draw(40, seed=1)
    flags = np.random.default_rng(2).integers(0, 2, (60, 3))
    reference = KNeighborsClassifier(5, metric=distance).fit(train, flags).predict_proba(test)
    probability = KNNModel(LABELS, train, flags, distance=distance).predict(test)
    np.testing.assert_allclose(probability, np.stack([p[:, 1] for p in reference], 1), atol=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_values_are_the_mean_of_the_neighbours(distance):
    train, test, values = draw(60), draw(40, seed=1), draw(60, seed=2, width=2)
    reference = KNeighborsRegressor(5, metric=distance).fit(train, values)
    prediction = KNNModel(VALUES, train, values, distance=distance).predict(test)
    np.testing.assert_allclose(prediction, reference.predict(test), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_cosine_sees_directions_only(seed):
    train, test = draw(30, seed), draw(5, seed + 1)
    lengths = np.random.default_rng(seed).choice([0.5, 2.0, 4.0], (30, 1)).astype(np.float32)
    classes = np.arange(30) % 3
    same = [KNNModel(SCENES, x, classes).predict(test) for x in (train, train * lengths)]
    np.testing.assert_allclose(*same, atol=1e-6)


@pytest.mark.parametrize("k", [0, 31])
def test_neighbours_that_are_not_there(k):
    with pytest.raises(InputError, match=f"k={k} neighbours of 30 training samples.*1 to 30"):
        KNNModel(SCENES, draw(30), np.arange(30) % 3, k=k)


def test_an_unknown_distance():
    with pytest.raises(InputError, match="'manhattan' is not one of cosine, euclidean"):
        KNNModel(SCENES, draw(30), np.arange(30) % 3, distance="manhattan")
