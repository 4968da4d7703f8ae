"""Tasks: one metric decides, the one that also picks a specialist's weights."""

import pytest

from evaluation.tasks import DIRECTIONS, Task, main_metric, metrics_of
from sensors import Band, InputError
from specialists import SpecialistSpec
from specialists.metrics import selection_metric

KINDS = (
    {"kind": "scene-classification"},
    {"kind": "scene-classification", "multi_label": True},
    {"kind": "semantic-segmentation"},
    {"kind": "regression"},
    {"kind": "regression", "per_pixel": True},
)


@pytest.mark.parametrize("options", KINDS)
def test_the_same_metric_decides_as_for_a_specialist(options):
    options = dict(options)
    task = Task(classes=("a", "b"), **options)
    spec = SpecialistSpec(
        task=options.pop("kind"),
        bands=(Band("red", 0.665, 0.03),),
        classes=("a", "b"),
        mean=(0.0,),
        std=(1.0,),
        gsd=10.0,
        chip_size=32,
        **options,
    )
    assert main_metric(task) == selection_metric(spec)
    assert task.per_pixel == spec.is_per_pixel


@pytest.mark.parametrize("options", KINDS)
def test_every_metric_has_a_direction(options):
    for name in metrics_of(Task(classes=("a", "b"), **options)):
        assert DIRECTIONS[name] == ("min" if name in {"rmse", "mae", "ece"} else "max")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "detection", "classes": ("a", "b")}, "detection.*scene-classification"),
        ({"kind": "scene-classification", "classes": ("a",)}, "1 classes.*at least 2"),
        ({"kind": "regression", "classes": ()}, "0 classes.*at least 1"),
        ({"kind": "regression", "classes": ("a",), "multi_label": True}, "multi_label"),
        ({"kind": "scene-classification", "classes": "ab", "per_pixel": True}, "per_pixel"),
    ],
)
def test_contradictions_are_named(options, said):
    with pytest.raises(InputError, match=said):
        Task(**options)
