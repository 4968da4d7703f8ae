"""The Lightning module: which weights decay, and how the learning rate goes."""

import pytest
import torch

from specialists.model import build_specialist
from specialists.recipe import build_schedule
from specialists.task import RecipeConfig, SpecialistTask


@pytest.fixture
def make_task(make_spec):
    def make(**recipe):
        return SpecialistTask(build_specialist(make_spec()), RecipeConfig(**recipe))

    return make


@pytest.mark.parametrize(
    ("schedule", "warmup"), [("one-cycle", 0.25), ("cosine", 0.25), ("cosine", 0.0)]
)
def test_learning_rate_rises_to_its_highest_and_ends_near_0(schedule, warmup):
    recipe = RecipeConfig(schedule=schedule, warmup=warmup, lr=1e-2)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    scheduler = build_schedule(optimizer, recipe, 40)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1e-2, rel=0.02)
    assert top == pytest.approx(40 * warmup, abs=1)
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert rates[-1] < 1e-4


def test_biases_and_norms_do_not_decay(make_task, monkeypatch):
    task = make_task(weight_decay=0.3)
    monkeypatch.setattr(
        SpecialistTask, "trainer", type("Steps", (), {"estimated_stepping_batches": 10})
    )
    optimizer = task.configure_optimizers()["optimizer"]
    decays = {
        id(weight): group["weight_decay"]
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    for name, weight in task.specialist.named_parameters():
        assert decays[id(weight)] == (0.0 if weight.ndim <= 1 else 0.3), name
    assert len(decays) == len(list(task.specialist.parameters()))


def test_checkpoints_hold_the_network_and_nothing_else(make_task):
    task = make_task(class_weights="balanced")
    assert set(task.state_dict()) == {f"specialist.{n}" for n in task.specialist.state_dict()}
