"""`Ensemble.fit` learns by the command's own run, and leaves the ensemble itself alone."""

import pytest
import torch

from router import Ensemble
from router.manifest import read_manifest
from sensors import InputError


def overrides(folder, epochs=2):
    return [
        "data=folders",
        f"data.root={folder}",
        f"data.train.folder={folder}",
        "data.split={by: hash, fractions: {selection: 0.3}}",
        f"trainer.epochs={epochs}",
        "trainer.batch_size=8",
        "trainer.energy=false",
    ]


def test_an_ensemble_in_memory_learns_a_task(registry, two_sensors, tmp_path):
    ensemble = Ensemble.compose(["optical", "radar"], "small-trunk", registry=registry)
    before = {name: weight.clone() for name, weight in ensemble.state_dict().items()}
    network = ensemble.fit(tmp_path / "run", overrides(two_sensors), registry)
    assert set(network.spec.classes) == {"field", "lake", "roof"}
    learned = network.ensemble.state_dict()
    assert any(not torch.equal(learned[name], weight) for name, weight in before.items())
    assert all(torch.equal(weight, before[name]) for name, weight in ensemble.state_dict().items())
    assert read_manifest(tmp_path / "run").action == "refine"
    again = ensemble.fit(tmp_path / "run", overrides(two_sensors), registry)
    assert all(
        torch.equal(weight, learned[name]) for name, weight in again.ensemble.state_dict().items()
    )


def test_a_run_of_another_ensemble_is_not_mixed_up(registry, two_sensors, tmp_path):
    ensemble = Ensemble.compose(["optical", "radar"], "small-trunk", registry=registry)
    ensemble.save(tmp_path / "run_start")
    torch.nn.init.normal_(ensemble.gate.scorer.query.weight)
    with pytest.raises(InputError, match=r"run_start holds another ensemble"):
        ensemble.fit(tmp_path / "run", overrides(two_sensors), registry)
