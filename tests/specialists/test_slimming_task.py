"""Distillation: the error is 0 of the same, falls with learning, and the teacher stays as it is."""

import pytest
import torch

from sensors import InputError
from specialists.augment import AugmentConfig
from specialists.recipe import SpecialistLearningConfig
from specialists.slimming import slim
from specialists.slimming_task import DistilTask, answer_error

TASKS = [
    {},
    {"multi_label": True},
    {"task": "regression"},
    {"task": "semantic-segmentation"},
    {"task": "similarity-search", "classes": ()},
]


def draw_batch():
    torch.manual_seed(0)
    return torch.rand(4, 4, 32, 32) * 0.4, torch.rand(4, 4, 32, 32) > 0.1


def make(student, teacher, **augment):
    return DistilTask(
        student, teacher, SpecialistLearningConfig(augment=AugmentConfig(**augment))
    ).eval()


@pytest.mark.parametrize("changes", TASKS, ids=str)
def test_the_same_network_makes_no_error(get_specialist, changes):
    teacher = get_specialist(**changes)
    assert make(teacher, teacher).compare(*draw_batch()).abs() < 1e-6


@pytest.mark.parametrize("changes", TASKS, ids=str)
@pytest.mark.parametrize("scope", ["hidden", "full"])
def test_learning_lowers_the_error(get_specialist, changes, scope):
    teacher = get_specialist(**changes)
    task = make(slim(teacher, 0.9, scope=scope), teacher)
    before = [weight.clone() for weight in teacher.parameters()]
    assert {name.split(".")[0] for name in task.state_dict()} <= {"specialist", "bridges"}
    # What was cut in hidden layers alone is near already, and long steps would lead away.
    optimizer = torch.optim.AdamW(task.parameters(), 1e-5 if scope == "hidden" else 2e-4)
    errors = []
    for _ in range(12):
        error = task.compare(*draw_batch())
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.95 * errors[0]
    assert all(map(torch.equal, before, teacher.parameters()))


def test_labels_are_not_touched(get_specialist):
    class Poison:
        def __getattr__(self, name):
            raise AssertionError(f"the label was asked for {name}")

    teacher = get_specialist()
    task = make(slim(teacher, 0.5), teacher)
    task.log = lambda *_, **__: None
    x_BCHW, valid = draw_batch()
    batch = {"image": x_BCHW, "valid": valid, "label": Poison(), "mask": Poison()}
    assert task.training_step(batch, 0) > 0
    task.validation_step(batch, 0)
    assert task.validation_error.compute() > 0


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_mixing_of_labels_is_refused(get_specialist, mixing):
    with pytest.raises(InputError, match="mix labels"):
        make(get_specialist(), get_specialist(), **{mixing: 0.2})


def test_answers_are_compared_as_probabilities(make_spec):
    answers, other = torch.randn(5, 3), torch.randn(5, 3)
    spec = make_spec()
    assert answer_error(spec, answers + 7, answers).abs() < 1e-6
    assert answer_error(spec, other, answers) > 0.01
    several = make_spec(multi_label=True)
    assert answer_error(several, answers, answers).abs() < 1e-6
    assert answer_error(several, answers + 7, answers) > 0.1
    assert answer_error(make_spec(task="regression"), answers + 2, answers) == pytest.approx(4)
