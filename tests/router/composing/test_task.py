"""One step of the training: who gets a gradient, and what the recipe adds."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch

from router.composing import ComposeTrainerConfig
from router.composing.task import ComposeTask
from router.ensemble import Ensemble
from router.task_ensemble import TaskEnsemble
from specialists.task_spec import TaskSpec
from tests.router.composing.conftest import BANDS

ORDER = [2, 0, 3, 1]


@pytest.fixture
def make_task(registry, monkeypatch):
    """A task on an ensemble of two sensors, outside of a trainer."""

    def make(ensemble=None, bands=BANDS, **recipe):
        torch.manual_seed(0)
        settings = {"top_k": 1, "trunk_image_size": 16} | (ensemble or {})
        parts = Ensemble.compose(
            ["visible", "optical", "radar"], "small-trunk", registry=registry, **settings
        )
        scale = {"reflectance": (0.2, 0.15), "backscatter": (-14.0, 7.0)}
        spec = TaskSpec(
            task="scene-classification",
            bands=tuple(bands),
            classes=("a", "b", "c"),
            mean=tuple(scale[band.quantity][0] for band in bands),
            std=tuple(scale[band.quantity][1] for band in bands),
            gsd=10.0,
            chip_size=16,
            head="pool",
        )
        task = ComposeTask(TaskEnsemble(parts, spec), ComposeTrainerConfig(**recipe))
        task.logged = {}
        monkeypatch.setattr(
            ComposeTask, "log", lambda self, name, value, **_: self.logged.update({name: value})
        )
        return task

    return make


def batch_of(size=8, bands=BANDS):
    generator = torch.Generator().manual_seed(5)
    level = torch.tensor([0.1, 0.3, -12.0, -18.0])[:, None, None]
    spread = torch.tensor([0.05, 0.1, 4.0, 4.0])[:, None, None]
    image = level + torch.randn(size, 4, 16, 16, generator=generator) * spread
    order = [BANDS.index(band) for band in bands]
    image = image[:, order]
    return {
        "image": image,
        "valid": torch.ones_like(image, dtype=torch.bool),
        "label": torch.arange(size) % 3,
    }


@pytest.mark.parametrize("gate", ["routed", "soft", "static"])
def test_gate_fusion_and_head_get_a_gradient_and_nothing_else(make_task, gate):
    task = make_task({"gate": gate, "top_k": 2}, sensor_dropout=0.5)
    task.training_step(batch_of(), 0).backward()
    learned = {
        ".".join(name.split(".")[1:3])
        for name, weight in task.named_parameters()
        if weight.grad is not None and weight.grad.abs().sum() > 0
    }
    assert {"ensemble.gate", "ensemble.fusion"} < learned
    assert all(
        name.split(".")[0] == "head" for name in learned - {"ensemble.gate", "ensemble.fusion"}
    )
    ensemble = task.specialist.ensemble
    for part in (ensemble.trunk, *(member.network for member in ensemble.members)):
        assert not any(weight.requires_grad for weight in part.parameters())
        assert not part.training


def test_a_network_from_a_file_learns_in_training_mode(make_task):
    task = make_task(noise=0.7)
    network = task.specialist.eval()
    again = ComposeTask(network, task.recipe)
    assert again.specialist.head.training
    assert network.ensemble.gate.training
    assert network.ensemble.gate.noise == 0.7


def test_noise_falls_to_0_in_the_first_half(make_task, monkeypatch):
    task = make_task(noise=0.8, epochs=8)
    found = []
    for epoch in range(8):
        monkeypatch.setattr(ComposeTask, "current_epoch", epoch)
        task.on_train_epoch_start()
        found.append(task.specialist.ensemble.gate.noise)
    assert found == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0])


@pytest.mark.parametrize(("gate", "expected"), [("routed", 1e-3), ("static", 1e-2)])
def test_a_gate_that_looks_at_the_image_learns_at_its_own_rate(
    make_task, monkeypatch, gate, expected
):
    task = make_task({"gate": gate}, lr=1e-2, gate_lr=0.1)
    steps = SimpleNamespace(estimated_stepping_batches=10)
    monkeypatch.setattr(ComposeTask, "trainer", steps)
    groups = task.configure_optimizers()["optimizer"].param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    ensemble = task.specialist.ensemble
    learning = [weight for weight in task.parameters() if weight.requires_grad]
    assert set(rates) == {id(weight) for weight in learning}
    of_gate = [w for w in ensemble.gate.parameters() if w.requires_grad]
    # The schedule begins at a 25th of the highest rate.
    assert all(25 * rates[id(weight)] == pytest.approx(expected) for weight in of_gate)
    of_fusion = ensemble.fusion.parameters()
    assert all(25 * rates[id(weight)] == pytest.approx(1e-2) for weight in of_fusion)


def test_the_recipe_weighs_what_the_gate_adds(make_task):
    augment = {"flip": False, "rotate90": False}
    values = {}
    for name, recipe in {
        "plain": {"load_balance": 0.0, "entropy": 0.0},
        "balance": {"load_balance": 2.0, "entropy": 0.0},
        "entropy": {"load_balance": 0.0, "entropy": 3.0},
    }.items():
        task = make_task(noise=0.0, channels_last=False, **recipe)
        for key, value in augment.items():
            setattr(task.recipe.augment, key, value)
        values[name] = task.training_step(batch_of(), 0).item()
        terms = {key: value.item() for key, value in task.logged.items()}
    assert terms["train_loss"] == pytest.approx(values["plain"])
    assert values["balance"] == pytest.approx(values["plain"] + 2 * terms["train_load_balance"])
    assert values["entropy"] == pytest.approx(values["plain"] + 3 * terms["train_entropy"])
    assert terms["train_entropy"] > 0


def test_noise_tries_members_that_are_second_best_in_training_alone(make_task):
    task = make_task(noise=50.0)
    ensemble, batch = task.specialist.ensemble, batch_of(32)
    torch.manual_seed(0)
    ask = lambda: ensemble.route(batch["image"], BANDS, batch["valid"], 10.0).weights_BM > 0  # noqa: E731
    assert ask().any(0).all()
    task.eval()
    assert torch.equal(ask(), ask())


def test_the_order_of_bands_changes_no_loss(make_task):
    losses = []
    for order in (range(4), ORDER):
        bands = [BANDS[place] for place in order]
        task = make_task(bands=bands, sensor_dropout=0.5, noise=0.5)
        torch.manual_seed(3)
        losses.append(task.training_step(batch_of(bands=bands), 0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_gate_learns_to_choose_whom_the_loss_favours(make_task):
    """Labels that only the radar shows: its member's share rises."""
    L.seed_everything(0, verbose=False)
    task = make_task({"top_k": 2}, noise=1.0, load_balance=0.0)
    batch = batch_of(24)
    batch["image"][:, :2] = torch.tensor([0.1, 0.3])[:, None, None]
    batch["image"][:, 2:] += batch["label"][:, None, None, None] * 6.0
    radar = [member.pin.name for member in task.specialist.ensemble.members].index("radar")

    def share():
        ensemble = task.specialist.ensemble
        routing = ensemble.route(batch["image"], BANDS, batch["valid"], 10.0)
        return routing.probabilities_BM[:, radar].mean().item()

    before = share()
    optimizer = torch.optim.AdamW([w for w in task.parameters() if w.requires_grad], lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()
    assert share() > before + 0.3
