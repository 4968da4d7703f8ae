"""What was recorded once answers as the ensemble itself does, whoever is left of it."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rasters import ChipDataset
from router.ensemble import Ensemble
from router.pruning.absorbing import absorb, want
from router.pruning.parts import Parts
from router.pruning.recording import record
from router.pruning.scoring import Refit, judge, refit
from router.task_ensemble import TaskEnsemble
from sensors import InputError
from specialists.loading import collate
from specialists.task_spec import TaskSpec
from tests.router.composing.conftest import BANDS

CASES = [
    {"gate": "routed", "top_k": 2},
    {"gate": "routed", "top_k": 1, "trunk_features": True},
    {"gate": "soft", "fusion": "attention"},
    {"gate": "static", "top_k": 2, "fusion": "sum"},
    {"gate": "uniform", "fusion": "sum", "trunk_features": True},
    {"gate": "uniform"},
]


@pytest.fixture(scope="module")
def chips(two_sensors) -> ChipDataset:
    """36 chips, of which a third has no optical bands."""
    return ChipDataset.from_folders(two_sensors)


def make_network(registry, members=("visible", "optical", "radar"), head="pool", **settings):
    torch.manual_seed(0)
    settings = {"trunk_image_size": 16, "channels": (8, 16, 24, 32)} | settings
    ensemble = Ensemble.compose(members, "small-trunk", registry=registry, **settings)
    spec = TaskSpec(
        task="scene-classification",
        bands=BANDS,
        classes=("field", "lake", "roof"),
        mean=(0.2, 0.2, -14.0, -14.0),
        std=(0.15, 0.15, 7.0, 7.0),
        gsd=10.0,
        chip_size=16,
        head=head,
    )
    return TaskEnsemble(ensemble, spec).eval()


def ask(network, chips):
    [batch] = DataLoader(chips, len(chips), collate_fn=collate)
    return network.predict(batch["image"], valid=batch["valid"])


def answer(parts, recording):
    return parts.answer(recording, torch.arange(len(recording)))[1]


@pytest.mark.filterwarnings("ignore:no member can run")
@pytest.mark.parametrize("settings", CASES)
def test_parts_answer_as_the_ensemble_does(registry, chips, tmp_path, settings):
    network = make_network(registry, **settings)
    trunk = (network.ensemble.trunk, network.ensemble.trunk_pin)
    recording = record(network, chips, tmp_path / "all", batch_size=7)
    parts = Parts(network, recording)
    torch.testing.assert_close(answer(parts, recording), ask(network, chips))
    # Who was there before is there still: nothing is run anew.
    again = record(network, chips.subset([0]), tmp_path / "all")
    assert len(again) == len(chips)
    for gone in ("visible@1.0.0", "optical@1.0.0"):
        parts = parts.without(gone)
        smaller = parts.to_network(trunk)
        assert gone not in [member.reference for member in smaller.ensemble.members]
        torch.testing.assert_close(answer(parts, recording), ask(smaller, chips))
    assert parts.spec.gate == "uniform"
    assert parts.has_trunk == settings.get("trunk_features", False)


def test_a_trunk_stays_for_images_that_the_last_member_cannot_run_for(registry, chips, tmp_path):
    network = make_network(registry, members=("visible", "optical"), gate="routed", top_k=1)
    with pytest.warns(UserWarning, match="the trunk's own features are used"):
        expected = ask(network, chips)
    recording = record(network, chips, tmp_path / "all")
    parts = Parts(network, recording)
    torch.testing.assert_close(answer(parts, recording), expected)
    left = parts.without("visible@1.0.0")
    assert left.has_trunk
    smaller = left.to_network((network.ensemble.trunk, network.ensemble.trunk_pin))
    with pytest.warns(UserWarning, match="the trunk's own features are used"):
        torch.testing.assert_close(answer(left, recording), ask(smaller, chips))


def test_without_a_trunk_a_chip_that_nobody_can_run_for_is_refused(registry, chips, tmp_path):
    ensemble = Ensemble.compose(["optical"], registry=registry, gate="uniform", top_k=1)
    network = TaskEnsemble(ensemble, make_network(registry).spec)
    with pytest.raises(InputError, match=r"no member can run on the bands VV, VH.*\n.*optical"):
        record(network, chips, tmp_path / "all")


def test_a_head_that_looks_at_the_image_sees_it(registry, chips, tmp_path):
    network = make_network(registry, gate="uniform", head="pyramid")
    recording = record(network, chips, tmp_path / "all")
    torch.testing.assert_close(answer(Parts(network, recording), recording), ask(network, chips))


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_fused_level_is_linear_in_what_is_stacked(registry, chips, tmp_path, fusion):
    network = make_network(registry, gate="routed", top_k=2, fusion=fusion)
    recording = record(network, chips, tmp_path / "all")
    parts, rows = Parts(network, recording), torch.arange(len(chips))
    sources = parts.sources(recording, rows)
    _, levels = parts(recording, rows)
    for level, expected in enumerate(levels):
        stack_BCHW = parts.fusion.stack(sources, level, len(rows), recording.size)
        found = torch.einsum("dc,bchw->bdhw", parts.fusion.matrix(level), stack_BCHW)
        found = found + parts.fusion.bias[level][:, None, None]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_absorbing_comes_nearer_to_the_whole(registry, chips, tmp_path, fusion):
    network = make_network(registry, gate="uniform", fusion=fusion)
    recording = record(network, chips, tmp_path / "all")
    whole, rows = Parts(network, recording), torch.arange(len(chips))
    _, wanted = whole(recording, rows)
    left = whole.without("visible@1.0.0")
    before = left(recording, rows)[1]
    absorb(left, recording, want(whole, recording))
    after = left(recording, rows)[1]
    for old, new, target in zip(before, after, wanted, strict=True):
        assert (new - target).square().mean() < 0.8 * (old - target).square().mean()


def test_a_refit_keeps_the_best_epoch_and_leaves_the_gate(registry, chips, tmp_path):
    network = make_network(registry, gate="routed", top_k=2)
    recording = record(network, chips, tmp_path / "all")
    whole = Parts(network, recording)
    parts = whole.copy()
    gate = {name: weight.clone() for name, weight in parts.gate.state_dict().items()}
    start = judge(parts, recording)
    found = refit(parts, whole, recording, recording, Refit(epochs=4, lr=1e-2, batch_size=8))
    assert found.rank > start.rank
    assert judge(parts, recording) == found
    assert all(torch.equal(gate[name], weight) for name, weight in parts.gate.state_dict().items())
    assert judge(whole, recording) == start
    # A rate that breaks everything leaves the start.
    broken = whole.copy()
    assert refit(broken, whole, recording, recording, Refit(epochs=1, lr=1e4)).rank >= start.rank
    assert all(np.isfinite(weight.detach().numpy()).all() for weight in broken.parameters())
