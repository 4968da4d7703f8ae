import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.neighbors import KNeighborsClassifier

from evaluation.features import Features, Rows
from evaluation.pixels import PixelProbe
from evaluation.probes import PROBES, ProbeConfig, SceneProbe, fit_probe, serves
from evaluation.tasks import Task
from sensors import InputError

SCENES = Task("scene-classification", ("water", "forest", "town"))
LABELS = Task("scene-classification", ("water", "forest", "town"), multi_label=True)
VALUES = Task("regression", ("height",))
COVER = Task("semantic-segmentation", ("water", "forest"))


def make(targets, seed=0):
    """Features of two levels, 3 and 5 channels wide."""
    generator = np.random.default_rng(seed)
    targets = np.asarray(targets)
    count = len(targets)
    pooled = generator.normal(size=(count, 16)).astype(np.float32)
    ends = {"mean/0": (0, 3), "mean/1": (3, 8), "std/0": (8, 11), "std/1": (11, 16)}
    columns = {name: slice(*end) for name, end in ends.items()}
    levels = [
        Rows(generator.normal(size=(count, *shape)).astype(np.float32))
        for shape in [(3, 4, 4), (5, 2, 2)]
    ]
    ids = tuple(f"chip {number}" for number in range(count))
    return Features(ids, None, pooled, columns, levels, targets, None, "made")


def draw(task, count=30, seed=0):
    generator = np.random.default_rng(seed)
    if task.per_pixel:
        return make(generator.integers(0, 2, (count, 8, 8)).astype(np.uint8), seed)
    if task.multi_label:
        return make(generator.integers(0, 2, (count, 3)), seed)
    if task.kind == "regression":
        return make(generator.normal(size=(count, 1)).astype(np.float32), seed)
    return make(np.arange(count) % 3, seed)


@pytest.mark.parametrize("task", [SCENES, LABELS, VALUES], ids=["scenes", "labels", "values"])
@pytest.mark.parametrize("kind", ["knn", "linear"])
@pytest.mark.parametrize("pooling", ["pyramid", "last"])
def test_probes_of_scenes(kind, task, pooling):
    config = ProbeConfig(kind, pooling=pooling)
    probe = fit_probe(config, task, draw(task), draw(task, seed=1))
    assert isinstance(probe, SceneProbe)
    answers = probe.predict(draw(task, count=7, seed=2))
    assert answers.shape == (7, len(task.classes))
    assert answers.dtype == np.float32
    assert probe.hyperparameters["pooling"] == pooling


@pytest.mark.parametrize("kind", ["pixel-linear", "pixel-decoder"])
def test_probes_of_pixels(kind):
    config = ProbeConfig(kind, epochs=1, min_steps=2)
    probe = fit_probe(config, COVER, draw(COVER), draw(COVER, seed=1))
    assert isinstance(probe, PixelProbe)
    batches = list(probe.predict(draw(COVER, count=20, seed=2)))
    assert [numbers.tolist() for numbers, _ in batches] == [[*range(16)], [*range(16, 20)]]
    assert batches[0][1].shape == (16, 2, 8, 8)
    assert list(probe.hyperparameters["sweep"]) == ["0.001", "0.01"]


def test_the_pooling_says_which_features_are_read():
    train, test = draw(SCENES), draw(SCENES, seed=1)
    for pooling in ("last", "pyramid"):
        reference = KNeighborsClassifier(5, metric="cosine")
        reference.fit(train.pool(pooling), train.targets)
        probe = fit_probe(ProbeConfig("knn", pooling=pooling), SCENES, train)
        expected = reference.predict_proba(test.pool(pooling))
        np.testing.assert_allclose(probe.predict(test), expected, atol=1e-6)


def test_scenes_of_an_unknown_value_are_left_out():
    train = draw(VALUES)
    train.targets[:20] = np.nan
    known = train.take(np.arange(20, 30))
    for kind in ("knn", "linear"):
        answers = [
            fit_probe(ProbeConfig(kind), VALUES, part, draw(VALUES, seed=1)).predict(train)
            for part in (train, known)
        ]
        np.testing.assert_array_equal(*answers)
    with pytest.raises(InputError, match="k=5 neighbours of 2 training samples"):
        fit_probe(ProbeConfig("knn"), VALUES, train.take(np.arange(18, 22)))


def test_the_seed_decides_the_folds():
    train = draw(SCENES, count=40)
    sweeps = [
        fit_probe(ProbeConfig("linear"), SCENES, train, seed=seed).hyperparameters["sweep"]
        for seed in (0, 0, 1)
    ]
    assert sweeps[0] == sweeps[1] != sweeps[2]


def test_every_probe_serves_scenes_or_pixels():
    for kind in PROBES:
        config = ProbeConfig(kind)
        assert serves(config, SCENES) == serves(config, VALUES) != serves(config, COVER)


def test_a_configuration_is_a_schema_of_hydra():
    schema = OmegaConf.structured(ProbeConfig)
    config = OmegaConf.to_object(OmegaConf.merge(schema, {"kind": "knn", "k": 3}))
    assert config == ProbeConfig("knn", k=3)


@pytest.mark.parametrize(
    ("config", "task", "message"),
    [
        (ProbeConfig("svm"), SCENES, "'svm' is not one of knn, linear, pixel-linear"),
        (ProbeConfig("knn"), COVER, "does not serve .* take one of pixel-linear, pixel-decoder"),
        (ProbeConfig("pixel-linear"), SCENES, "does not serve .* take one of knn, linear"),
        (ProbeConfig("knn", pooling="max"), SCENES, "'max' is not one of last, pyramid"),
        (ProbeConfig("knn", k=31), SCENES, "k=31 neighbours of 30"),
    ],
)
def test_what_cannot_be_fitted(config, task, message):
    with pytest.raises(InputError, match=message):
        fit_probe(config, task, draw(task))


@pytest.mark.parametrize("kind", ["knn", "linear"])
@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        (SCENES, np.full(9, 2), "all 9 training samples are of class town"),
        (LABELS, np.tile([0, 1, 1], (9, 1)), "all 9 training samples are of the same target"),
        (VALUES, np.full((9, 1), 3.0), "all 9 training samples are of the same target"),
        (VALUES, np.full((9, 1), np.nan), "no training sample has a known target"),
    ],
)
def test_nothing_to_tell_apart(kind, task, targets, message):
    with pytest.raises(InputError, match=message):
        fit_probe(ProbeConfig(kind), task, make(targets))


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_features_that_are_not_finite(kind):
    broken = draw(SCENES)
    broken.pooled_ND[[4, 9], 2] = np.nan
    message = "2 of 30 images have features that are not finite, the first is chip 4"
    with pytest.raises(InputError, match=message):
        fit_probe(ProbeConfig(kind), SCENES, broken)
    probe = fit_probe(ProbeConfig(kind), SCENES, draw(SCENES))
    with pytest.raises(InputError, match=message):
        probe.predict(broken)
