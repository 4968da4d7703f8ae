import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evaluation.linear import LinearModel
from evaluation.tasks import Task
from sensors import InputError

SCENES = Task("scene-classification", ("water", "forest", "town"))
LABELS = Task("scene-classification", ("water", "forest", "town"), multi_label=True)
VALUES = Task("regression", ("height", "biomass"))
PENALTIES = [0.01, 1.0, 100.0]


def make(count, seed):
    """Features on very different scales, and noisy scores of three classes that follow them."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 10)).astype(np.float32)
    weights = np.random.default_rng(99).normal(size=(10, 3))
    scores = features @ weights + 2 * generator.normal(size=(count, 3))
    return features * np.logspace(-2, 3, 10, dtype=np.float32) + 5, scores


def scenes(count, seed):
    features, scores = make(count, seed)
    return features, scores.argmax(1)


def labels(count, seed):
    features, scores = make(count, seed)
    return features, (scores > 1).astype(np.int64)


def values(count, seed):
    features, scores = make(count, seed)
    return features, (scores[:, :2] * 10 + 280).astype(np.float32)


def reference(model, train):
    return make_pipeline(StandardScaler(), model).fit(train[0].astype(np.float64), train[1])


def test_classes_as_scikit_learn_has_them():
    train, selection, test = scenes(200, 0), scenes(100, 1), scenes(100, 2)
    model = LinearModel(SCENES, train, selection, penalties=PENALTIES)
    chosen = LogisticRegression(C=model.hyperparameters["C"], tol=1e-8, max_iter=10_000)
    expected = reference(chosen, train).predict_proba(test[0])
    np.testing.assert_allclose(model.predict(test[0]), expected, atol=2e-3)
    assert model.predict(test[0]).dtype == np.float32
    assert model.hyperparameters["converged"]


def test_labels_as_scikit_learns_one_versus_rest():
    train, selection, test = labels(200, 0), labels(100, 1), labels(100, 2)
    model = LinearModel(LABELS, train, selection, penalties=PENALTIES)
    chosen = LogisticRegression(C=model.hyperparameters["C"], tol=1e-8, max_iter=10_000)
    expected = reference(OneVsRestClassifier(chosen), train).predict_proba(test[0])
    np.testing.assert_allclose(model.predict(test[0]), expected, atol=2e-3)


def test_values_as_scikit_learns_ridge():
    train, selection, test = values(200, 0), values(100, 1), values(100, 2)
    model = LinearModel(VALUES, train, selection, penalties=PENALTIES)
    expected = reference(Ridge(alpha=model.hyperparameters["alpha"]), train).predict(test[0])
    np.testing.assert_allclose(model.predict(test[0]), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("task", "draw", "measure"),
    [
        (SCENES, scenes, lambda truth, p: accuracy_score(truth, p.argmax(1))),
        (LABELS, labels, average_precision_score),
    ],
)
def test_the_best_penalty_on_the_selection_split_is_kept(task, draw, measure):
    train, selection = draw(40, 0), draw(300, 1)
    model = LinearModel(task, train, selection, penalties=PENALTIES)
    for C, score in model.hyperparameters["sweep"].items():
        alone = LinearModel(task, train, selection, penalties=[1 / float(C)])
        assert score == pytest.approx(measure(selection[1], alone.predict(selection[0])), abs=0.01)
    best = max(model.hyperparameters["sweep"].values())
    assert measure(selection[1], model.predict(selection[0])) == pytest.approx(best)


def test_errors_are_to_be_small():
    train, selection = values(40, 0), values(300, 1)
    found = LinearModel(VALUES, train, selection, penalties=[1e-3, 10, 1e6]).hyperparameters
    assert found["sweep"][f"{found['alpha']:g}"] == min(found["sweep"].values())
    assert found["sweep"]["1e+06"] > min(found["sweep"].values())


def test_of_equally_good_penalties_the_strongest():
    features = np.repeat([[-1.0], [1.0]], 20, axis=0).astype(np.float32)
    train = (features, np.repeat([0, 2], 20))
    found = LinearModel(SCENES, train, train, penalties=PENALTIES).hyperparameters
    assert found["sweep"] == {"0.01": 1.0, "1": 1.0, "100": 1.0}
    assert found["C"] == 0.01


def test_penalties_too_weak_to_help_are_not_tried():
    train, selection = values(40, 0), values(300, 1)
    penalties = [1e6, 1e1, 1e-3, 1e-4, 1e-5, 1e-6]
    found = LinearModel(VALUES, train, selection, penalties=penalties).hyperparameters
    tried = [float(alpha) for alpha in found["sweep"]]
    assert tried == penalties[: tried.index(found["alpha"]) + 4]
    assert len(tried) < len(penalties)


def test_penalties_that_are_all_too_strong_do_not_end_the_path():
    train, selection = scenes(40, 0), scenes(100, 1)
    penalties = [1e9, 1e8, 1e7, 1e6, 1e5, 1.0]
    found = LinearModel(SCENES, train, selection, penalties=penalties).hyperparameters
    assert len(set([*found["sweep"].values()][:5])) == 1
    assert found["C"] == 1


@pytest.mark.parametrize(("task", "draw"), [(SCENES, scenes), (LABELS, labels), (VALUES, values)])
def test_without_a_selection_split_samples_are_held_out(task, draw):
    train, test = draw(60, 0), draw(30, 1)
    model = LinearModel(task, train, penalties=PENALTIES, folds=3, seed=1)
    again = LinearModel(task, train, penalties=PENALTIES, folds=3, seed=1)
    np.testing.assert_array_equal(model.predict(test[0]), again.predict(test[0]))
    name = "alpha" if task is VALUES else "C"
    chosen = model.hyperparameters[name]
    alone = LinearModel(task, train, test, penalties=[chosen if task is VALUES else 1 / chosen])
    # Another way to the same optimum, fitted on every training sample.
    np.testing.assert_allclose(model.predict(test[0]), alone.predict(test[0]), atol=0.01)


def test_held_out_samples_are_those_of_scikit_learns_folds():
    features, classes = train = scenes(60, 0)
    found = LinearModel(SCENES, train, penalties=PENALTIES, folds=3, seed=1).hyperparameters
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    for C, score in found["sweep"].items():
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=float(C), max_iter=1000))
        said = cross_val_predict(pipeline, features.astype(np.float64), classes, cv=folds)
        assert score == pytest.approx((said == classes).mean(), abs=0.02)


def test_a_class_that_is_missing_in_training():
    features, classes = scenes(60, 0)
    train = (features[classes != 1], classes[classes != 1])
    probability = LinearModel(SCENES, train, (features, classes), penalties=[1]).predict(features)
    assert (probability[:, 1] == 0).all()
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-6)


def test_a_label_that_every_training_sample_has():
    features, flags = labels(60, 0)
    flags[:, 1] = 1
    model = LinearModel(LABELS, (features, flags), labels(60, 1), penalties=[1])
    assert (model.predict(features)[:, 1] == 1).all()


def test_a_fold_may_miss_a_rare_class():
    features, classes = scenes(30, 0)
    classes[:] = np.arange(30) > 0
    model = LinearModel(SCENES, (features, classes), penalties=PENALTIES, folds=5)
    assert model.predict(features).shape == (30, 3)


def test_fewer_samples_than_folds():
    features, classes = scenes(6, 0)
    with pytest.raises(InputError, match=r"2 training samples of the largest class.*folds=5"):
        LinearModel(SCENES, (features, np.arange(6) // 2), penalties=PENALTIES)
    with pytest.raises(InputError, match=r"4 training samples for probe.folds=5"):
        LinearModel(LABELS, labels(4, 0), penalties=PENALTIES)
    with pytest.raises(InputError, match="folds=1"):
        LinearModel(SCENES, (features, classes), penalties=PENALTIES, folds=1)


def test_a_selection_split_without_any_label():
    features, flags = labels(30, 1)
    with pytest.raises(InputError, match="no map of the 30 samples"):
        LinearModel(LABELS, labels(30, 0), (features, flags * 0), penalties=PENALTIES)


@pytest.mark.parametrize("penalties", [[], [1, 0], [-1]])
def test_penalties_that_are_none(penalties):
    with pytest.raises(InputError, match="expected one or more above 0"):
        LinearModel(SCENES, scenes(30, 0), penalties=penalties)
