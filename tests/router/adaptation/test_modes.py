from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from router.adaptation.modes import ModeConfig, choose_weights
from router.adaptation.task import AdaptTask
from router.adapted import AdaptedSpec, AdaptedTrunk
from router.trunk_spec import TrunkSpec
from sensors import Band, InputError
from specialists.config import TrainerConfig
from specialists.recipe import configure_adamw
from specialists.task_spec import TaskSpec

BANDS = (Band("green", 0.56, 0.03), Band("nir", 0.842, 0.1))
TRUNK = TrunkSpec(
    width=32, depth=3, num_heads=2, patch_size=8, image_size=16, generator_hidden_size=32
)
TASK = TaskSpec(
    task="scene-classification",
    bands=BANDS,
    classes=("a", "b"),
    mean=(0.2, 0.2),
    std=(0.1, 0.1),
    gsd=10.0,
    chip_size=16,
    head="pool",
)
CHOICES = {
    "linear": (ModeConfig(), {"head"}),
    "patch embedding": (
        ModeConfig("partial", patch_embed=True),
        {"head", "trunk.patch_embed"},
    ),
    "last blocks": (
        ModeConfig("partial", last_blocks=2),
        {"head", "trunk.blocks.1", "trunk.blocks.2", "trunk.norm"},
    ),
    "both": (
        ModeConfig("partial", patch_embed=True, last_blocks=1),
        {"head", "trunk.patch_embed", "trunk.blocks.2", "trunk.norm"},
    ),
    "full": (
        ModeConfig("full", layer_decay=0.5),
        {"head", "trunk.patch_embed", "trunk.cls_token", "trunk.norm"}
        | {f"trunk.blocks.{number}" for number in range(3)},
    ),
}


def build(**changes):
    torch.manual_seed(0)
    return AdaptedTrunk(AdaptedSpec(trunk=replace(TRUNK, **changes), task=TASK))


def part_of(name):
    parts = name.split(".")
    if parts[0] == "head":
        return "head"
    return ".".join(parts[: 3 if parts[1] == "blocks" else 2])


def optimize(network, mode, **recipe):
    """The optimizer of a run of ten steps."""
    task = AdaptTask(network, TrainerConfig(channels_last=False, **recipe), mode)
    configured = configure_adamw(task, task.learning, 10, groups=task.parameter_groups())
    return task, configured["optimizer"]


@pytest.mark.parametrize("name", CHOICES)
def test_a_mode_changes_its_weights_and_no_others(name):
    mode, expected = CHOICES[name]
    network = build()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    task, optimizer = optimize(network, mode, weight_decay=0.1)
    x_BCHW, target_B = torch.rand(4, 2, 16, 16), torch.tensor([0, 1, 0, 1])
    F.cross_entropy(task.specialist(x_BCHW), target_B).backward()
    optimizer.step()
    changed = {
        part_of(key)
        for key, value in network.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == expected
    learning = {id(weight) for weight in network.parameters() if weight.requires_grad}
    held = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert set(held) == learning
    assert len(held) == len(learning)


def test_the_norm_behind_the_mean_learns_with_the_last_blocks():
    network = build(norm="pooled")
    choose_weights(network, ModeConfig("partial", last_blocks=1))
    assert network.trunk.fc_norm.weight.requires_grad
    assert not network.trunk.patch_embed.fclayer.w1.weight.requires_grad


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_learning_rates_fall_from_the_head_to_the_patches(schedule):
    network = build()
    mode = ModeConfig("full", layer_decay=0.5)
    _, optimizer = optimize(network, mode, lr=0.8, schedule=schedule, warmup=0.5)
    names = {id(weight): name for name, weight in network.named_parameters()}
    highest = {
        part_of(names[id(weight)]): group.get("max_lr", group["initial_lr"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    expected = {"head": 0.8, "trunk.norm": 0.4, "trunk.blocks.2": 0.4, "trunk.blocks.1": 0.2}
    expected |= {"trunk.blocks.0": 0.1, "trunk.patch_embed": 0.05, "trunk.cls_token": 0.05}
    assert highest == pytest.approx(expected)


def test_norms_and_biases_have_no_weight_decay():
    network = build()
    _, optimizer = optimize(network, ModeConfig("full"), weight_decay=0.3)
    decays = {
        id(weight): group["weight_decay"]
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert decays[id(network.head.fc.weight)] == 0.3
    assert decays[id(network.head.fc.bias)] == 0
    assert decays[id(network.trunk.norm.weight)] == 0


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (ModeConfig("half"), "linear, partial, full"),
        (ModeConfig("partial"), "needs one"),
        (ModeConfig("linear", patch_embed=True), "mode linear"),
        (ModeConfig("full", last_blocks=1), "mode full"),
        (ModeConfig("partial", last_blocks=-1), "not a number of blocks"),
        (ModeConfig("partial", last_blocks=4), "has 3 blocks"),
        (ModeConfig("full", layer_decay=0.0), "above 0"),
        (ModeConfig("linear", layer_decay=0.5), "no layer"),
    ],
)
def test_modes_that_say_nothing_are_refused(mode, message):
    with pytest.raises(InputError, match=message):
        choose_weights(build(), mode)
