"""What is to be said about an image, and the numbers by which it is scored."""

from dataclasses import dataclass

from sensors import InputError

_METRICS = {
    "scene-classification": ("accuracy", "macro_accuracy", "macro_f1", "ece"),
    "multi-label": ("map", "micro_map", "macro_f1", "micro_f1", "ece"),
    "semantic-segmentation": ("miou", "micro_iou", "accuracy", "macro_f1", "ece"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics of each sort of task; the first decides, as it does for a specialist's weights."""

_LOWER_IS_BETTER = ("ece", "rmse", "mae")

DIRECTIONS: dict[str, str] = {
    name: "min" if name in _LOWER_IS_BETTER else "max"
    for names in _METRICS.values()
    for name in names
}
"""Whether the best value of a metric is its `max` or its `min`."""


@dataclass(frozen=True)
class Task:
    """What a probe is fitted for.

    Args:
        kind: `scene-classification`, `semantic-segmentation` or `regression`.
        classes: Names of the classes; for regression, names of the targets.
        multi_label: Scene classification in which a scene has any number of the classes.
        per_pixel: One answer a pixel; a segmentation always has.

    Raises:
        InputError: If the kind is unknown, there are too few classes, or two values contradict
            each other.
    """

    kind: str
    classes: tuple[str, ...]
    multi_label: bool = False
    per_pixel: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.kind == "semantic-segmentation":
            object.__setattr__(self, "per_pixel", True)
        kinds = [name for name in _METRICS if name != "multi-label"]
        if self.kind not in kinds:
            raise InputError(f"task {self.kind!r} is not one of {', '.join(kinds)}")
        if self.kind != "scene-classification" and self.multi_label:
            raise InputError(
                f"multi_label belongs to scene-classification, the task is {self.kind}"
            )
        if self.kind == "scene-classification" and self.per_pixel:
            raise InputError("per_pixel classes are a semantic-segmentation")
        least = 1 if self.multi_label or self.kind == "regression" else 2
        if len(self.classes) < least:
            raise InputError(
                f"{self.kind} with {len(self.classes)} classes leaves nothing to tell apart: "
                f"expected at least {least}"
            )


def metrics_of(task: Task) -> tuple[str, ...]:
    """Names of all metrics of a task, the one that decides first."""
    return _METRICS["multi-label" if task.multi_label else task.kind]


def main_metric(task: Task) -> tuple[str, str]:
    """The metric that decides, and whether its `max` or `min` is best."""
    name = metrics_of(task)[0]
    return name, DIRECTIONS[name]
