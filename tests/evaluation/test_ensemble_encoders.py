"""Ensembles as encoders: found, told apart, measured by what really runs."""

import json
from pathlib import Path

import pytest
import torch

from evaluation import _extraction
from evaluation.cli import main
from evaluation.config import compose_evaluation
from evaluation.efficiency import measure_efficiency
from evaluation.encoders import DataContext, EncoderConfig, load_encoder
from evaluation.lineup import FLOORS, line_up
from evaluation.run import evaluate
from router.ensemble import Ensemble
from router.registering import register_run
from sensors import InputError, load_sensor
from specialists import count_parameters

RGB = load_sensor("rgb-aerial").channels
CONTEXT = DataContext(RGB, (0.4,) * 3, (0.3,) * 3, gsd=1.0, chip_size=16)


@pytest.fixture
def load(guild):
    def load(source, **settings):
        return load_encoder(EncoderConfig(str(source), **settings), CONTEXT, registry=guild)

    return load


def parameters_of(guild, name):
    network = guild.get(name)
    return count_parameters(network) - count_parameters(network.head)


def test_it_is_found_by_folder_manifest_and_name(compose, load, guild, tmp_path):
    folder = compose("rgb", "radar", trunk="toy-trunk", folder="mine")
    by_folder = load(folder)
    assert (by_folder.kind, by_folder.name, by_folder.bands) == ("ensemble", "mine", None)
    assert not by_folder.is_floor
    assert "rgb@1.0.0" in by_folder.description
    assert load(f"ensemble:{folder}").digest == by_folder.digest
    first = load(f"ensemble:{folder / 'manifests' / '0001.json'}")
    assert (first.name, first.digest) == ("mine-0001", by_folder.digest)
    register_run(guild, folder, name="toy-guild", version="1.0.0", license="Apache-2.0")
    try:
        registered = load("toy-guild")
        assert (registered.kind, registered.name) == ("ensemble", "toy-guild")
        assert registered.digest == by_folder.digest
        assert load("ensemble:toy-guild@1.0.0").digest == by_folder.digest
    finally:
        guild.remove("toy-guild@1.0.0")


def test_a_registered_trunk_is_found_by_its_name(load):
    assert (load("toy-trunk").kind, load("toy-trunk").name) == ("trunk", "toy-trunk")
    assert load("trunk:toy-trunk").digest == load("toy-trunk@1.0.0").digest


def test_its_features_are_the_ensembles(compose, load, guild):
    folder = compose("rgb", "b-rgb", trunk="toy-trunk")
    encoder, ensemble = load(folder), Ensemble.load(folder, guild)
    x_BCHW = torch.rand(3, 3, 16, 16)
    valid = torch.ones_like(x_BCHW, dtype=torch.bool)
    levels, gate = encoder.module.features_and_gate(x_BCHW, RGB, valid)
    torch.testing.assert_close(levels, ensemble.forward_features(x_BCHW, RGB, valid))
    torch.testing.assert_close(gate, ensemble.gate_weights(x_BCHW, RGB, valid))
    assert not any(weight.requires_grad for weight in encoder.module.parameters())


def test_digest_follows_members_weights_and_spec_and_nothing_else(compose, load, guild):
    folder = compose("rgb", "radar", trunk="toy-trunk", folder="one")
    same = load(folder).digest
    assert load(compose("rgb", "radar", trunk="toy-trunk", folder="two")).digest == same
    ensemble = Ensemble.load(folder, guild)
    ensemble.save(folder, "refine", ("the same again",))
    assert load(folder).digest == same
    others = [
        compose("b-rgb", "radar", trunk="toy-trunk", folder="member"),
        compose("rgb", "radar", trunk="toy-trunk", temperature=2.0, folder="spec"),
        compose("rgb", "radar", folder="no-trunk"),
    ]
    with torch.no_grad():
        ensemble.fusion.bias[0].add_(1)
    ensemble.save(folder, "refine")
    digests = {load(other).digest for other in (*others, folder)}
    assert len(digests) == 4
    assert same not in digests


def test_it_has_no_random_twin(compose, guild):
    folder = compose("rgb")
    chosen = line_up([str(folder)], RGB, guild, floors=True)
    assert [config.source for config in chosen] == [f"ensemble:{folder}", *FLOORS]


def test_what_is_no_ensemble_is_refused(load, tmp_path, compose):
    with pytest.raises(InputError, match=r"ensemble\.json"):
        load(f"ensemble:{tmp_path}")
    with pytest.raises(InputError, match="no-such-guild"):
        load("ensemble:no-such-guild")
    with pytest.raises(InputError, match="bands cannot be set"):
        load(f"ensemble:{compose('rgb')}", bands=["red"])


def test_touched_are_those_that_ran(compose, load, guild):
    encoder = load(compose("rgb", "b-rgb", "radar", trunk="toy-trunk")).module
    trunk, own = encoder.ensemble.trunk, encoder.ensemble
    always = sum(map(count_parameters, (trunk, own.gate, own.fusion)))
    half = {"rgb@1.0.0": [1.0, 0.0], "b-rgb@1.0.0": [0.0, 0.4], "radar@1.0.0": [0.0, 0.0]}
    expected = parameters_of(guild, "rgb") / 2 + parameters_of(guild, "b-rgb") / 2
    assert encoder.parameters_touched(half) == always + round(expected)


def test_a_trunk_that_is_not_asked_is_not_touched(compose, load, guild):
    encoder = load(compose("rgb", "radar", trunk="toy-trunk", gate="sensor")).module
    own = count_parameters(encoder.ensemble.gate) + count_parameters(encoder.ensemble.fusion)
    rgb, trunk = parameters_of(guild, "rgb"), count_parameters(encoder.ensemble.trunk)
    ran = {"rgb@1.0.0": [1.0, 1.0], "radar@1.0.0": [0.0, 0.0]}
    assert encoder.parameters_touched(ran) == own + rgb
    nobody = {"rgb@1.0.0": [1.0, 0.0], "radar@1.0.0": [0.0, 0.0]}
    assert encoder.parameters_touched(nobody) == own + round(rgb / 2 + trunk / 2)


def test_members_that_do_not_run_cost_nothing(compose, guild):
    def measure(folder):
        return measure_efficiency(
            EncoderConfig(str(folder)),
            CONTEXT,
            batch_size=2,
            threads=1,
            energy_seconds=0,
            memory=False,
            registry=guild,
        )

    alone = measure(compose("rgb", folder="alone"))
    beside = measure(compose("rgb", "radar", "heat", folder="beside"))
    both = measure(compose("rgb", "b-rgb", top_k=2, folder="both"))
    assert beside.macs == alone.macs
    assert beside.parameters > 2 * alone.parameters
    assert beside.parameters_touched < 1.1 * alone.parameters_touched
    assert both.macs > 1.9 * alone.macs
    assert both.parameters_touched == both.parameters


def evaluate_pictures(folder, guild, toy_data, toy_configs, out):
    config = compose_evaluation(
        [
            f"encoders=['{folder}']",
            "data_sets=[toy_scenes]",
            "protocols=[linear]",
            "seeds=[0]",
            f"root={toy_data}",
            f"out={out}",
            f"registry={guild.store.root}",
            "floors=false",
            "energy_seconds=0",
            "resamples=20",
            "batch_size=4",
        ]
    )
    found = evaluate(config, config_dir=toy_configs)
    return json.loads(found.results.read_text())


@pytest.mark.slow
def test_a_whole_evaluation(compose, guild, toy_data, toy_configs, tmp_path, monkeypatch):
    folder = compose("rgb", "b-rgb", "radar", trunk="toy-trunk", folder="mine")
    looks = []
    route = Ensemble.route
    monkeypatch.setattr(
        Ensemble, "route", lambda self, *given: looks.append(len(given[0])) or route(self, *given)
    )
    extracted = []
    ask = _extraction.Extraction._ask
    monkeypatch.setattr(
        _extraction.Extraction,
        "_ask",
        lambda self, batch: extracted.append(len(batch["id"])) or ask(self, batch),
    )
    results = evaluate_pictures(folder, guild, toy_data, toy_configs, tmp_path / "out")
    assert looks == extracted  # the gate looks at every image once
    [cell] = results["cells"]
    assert cell["scores"]["accuracy"] > 0.9
    [usage] = results["gate_usage"]
    assert usage["encoder"] == "mine"
    assert sum(usage["weights"].values()) == pytest.approx(1)
    assert usage["weights"]["radar@1.0.0"] == 0
    facts = results["encoders"]["mine"]
    assert facts["kind"] == "ensemble"
    cost = facts["efficiency"]["toy_scenes"]
    shares = [usage["weights"][f"{name}@1.0.0"] for name in ("rgb", "b-rgb")]  # top 1: 0 or 1 each
    ran = sum(s * parameters_of(guild, n) for s, n in zip(shares, ("rgb", "b-rgb"), strict=True))
    networks = sum(parameters_of(guild, name) for name in ("rgb", "b-rgb", "radar"))
    assert cost["parameters_touched"] == pytest.approx(cost["parameters"] - networks + ran, abs=1)
    assert cost["peak_memory_mb"] > 0
    assert cost["training_images_per_second"] > 0
    monkeypatch.setattr("sys.argv", ["evaluate-encoder", "report", f"out={tmp_path / 'out'}"])
    main()
    page = Path(tmp_path / "out" / "report.html").read_text()
    assert "Mean gate weight of mine, by data set" in page
    assert "b-rgb@1.0.0" in page
    assert "Parameters touched" in page
