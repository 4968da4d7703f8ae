"""New members on a frozen suite: planted ones are taken, placed, or turned away."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from evaluation import integration
from evaluation.integration import integrate
from evaluation.integration_cli import main
from evaluation.integration_config import compose_integration
from evaluation.integration_history import rollback
from registry import Registry
from router.ensemble import Ensemble
from router.manifest import list_manifests, read_manifest
from sensors import InputError, load_sensor

SUITE = "suite=[{data: toy_scenes, protocol: linear}]"
COMMAND = str(Path(sys.executable).with_name("compose-ensemble"))


@pytest.fixture
def make_config(guild, toy_data, toy_configs):
    def make(folder, member, *overrides, dry_run=False):
        words = [SUITE, f"root={toy_data}", f"registry={guild.store.root}", "resamples=200"]
        words += ["device=cpu", *overrides]
        return compose_integration(str(folder), member, words, toy_configs, dry_run=dry_run)

    return make


@pytest.fixture
def run(make_config, toy_configs):
    def run(folder, member, *overrides, **settings):
        return integrate(
            make_config(folder, member, *overrides, **settings), config_dir=toy_configs
        )

    return run


@pytest.fixture
def call(monkeypatch, run_main, guild, toy_data, toy_configs):
    """Run the command; gives its exit code and what it printed."""

    def call(*words):
        monkeypatch.setenv("TERRAGUILD_REGISTRY", str(guild.store.root))
        monkeypatch.setenv("TERRAGUILD_DATA", str(toy_data))
        return run_main(main, "compose-ensemble", *words)

    return call


def snapshot(folder):
    """Every file of a folder but the measurements."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): path.read_bytes()
        for path in files
        if "integration" not in path.relative_to(folder).parts
    }


def members_of(folder):
    return [str(pin.reference) for pin in read_manifest(folder).members]


def test_a_needed_member_is_added(compose, run):
    folder = compose("radar", "heat")
    decision = run(folder, "rgb@1.0.0")
    assert decision.action == "add"
    [gain] = decision.added
    assert (gain.task, gain.metric) == ("toy_scenes/linear", "accuracy")
    assert gain.before < 0.7 < gain.after
    assert gain.low > 0
    assert members_of(folder) == ["heat@1.0.0", "radar@1.0.0", "rgb@1.0.0"]
    manifest = read_manifest(folder)
    assert (manifest.version, manifest.parent, manifest.action) == (2, 1, "add")
    assert manifest == decision.manifest
    text = "\n".join(manifest.reasons)
    assert f"accuracy {gain.before:.3f} before, {gain.after:.3f} after, {gain.value:+.3f}" in text
    assert "no member could run before" in text
    assert "data toy_scenes has the SHA-256 " in text


def test_a_useless_member_is_turned_away(compose, run):
    folder = compose("rgb", "radar")
    before = snapshot(folder)
    decision = run(folder, "heat")
    assert (decision.action, decision.member) == ("reject", "heat@1.0.0")
    assert "adds nothing measurable" in decision.reasons[0]
    assert decision.instead == {}
    manifest = read_manifest(folder)
    first = list_manifests(folder)[0]
    assert (manifest.version, manifest.action) == (2, "reject")
    assert manifest.members == first.members
    assert (manifest.weights_file, manifest.weights_sha256) == (
        first.weights_file,
        first.weights_sha256,
    )
    after = snapshot(folder)
    assert {name for name in after if before.get(name) != after[name]} == {
        Path("ensemble.json"),
        Path("manifests/0002.json"),
    }


def test_a_harmful_member_is_turned_away(compose, run):
    # The gate goes by bands, and of two that fit alike it takes the first by name.
    folder = compose("rgb", "radar")
    decision = run(folder, "a-blind")
    assert decision.action == "reject"
    assert "interference: more than 0.005 is lost on toy_scenes/linear" in decision.reasons[0]
    assert decision.added[0].high < -0.005
    assert list(decision.instead) == ["rgb@1.0.0"]
    assert members_of(folder) == ["radar@1.0.0", "rgb@1.0.0"]


@pytest.mark.slow
def test_a_better_member_takes_the_place_of_one_that_is_not_missed(compose, run, guild):
    folder = compose("a-blind", "radar", gate="static")
    ensemble = Ensemble.load(folder, guild)
    with torch.no_grad():
        ensemble.gate.scorer.scores["a-blind@1:0:0"].fill_(-5.0)
        ensemble.gate.scorer.scores["radar@1:0:0"].fill_(5.0)
    ensemble.save(folder, "refine")  # a new member scores as much as these do on average
    decision = run(folder, "rgb")
    assert decision.action == "replace"
    assert members_of(folder) == ["radar@1.0.0", "rgb@1.0.0"]
    assert decision.manifest.reasons[0].startswith("rgb@1.0.0: gains on toy_scenes/linear; without")
    assert any("in the place of a-blind@1.0.0, toy_scenes" in r for r in decision.reasons)


def test_tries_may_be_forbidden(compose, run):
    decision = run(compose("rgb", "radar"), "a-blind", "tries=0")
    assert decision.instead == {}


def test_a_dry_run_writes_nothing(compose, run):
    folder = compose("radar")
    before = snapshot(folder)
    decision = run(folder, "rgb", dry_run=True)
    assert (decision.action, decision.manifest) == ("add", None)
    assert snapshot(folder) == before
    assert not (folder / "integration").exists()


@pytest.mark.slow
def test_means_decide_on_pixels_with_seeds(compose, run):
    folder = compose("radar")
    quick = "{base: pixel_linear, name: quick, probe: {epochs: 1, min_steps: 20}}"
    decision = run(
        folder, "rgb", f"suite=[{{data: toy_masks, protocol: {quick}}}]", "seeds=[0,1]",
        "decide_by=mean", "min_gain=0.9",
    )  # fmt: skip
    assert decision.action == "reject"
    assert decision.added[0].metric == "miou"
    cells = list((folder / "integration" / "cells").glob("*.json"))
    assert {json.loads(cell.read_text())["seed"] for cell in cells} == {0, 1}


@pytest.mark.slow
def test_a_failure_in_the_middle_leaves_the_ensemble_and_keeps_what_is_measured(
    compose, run, monkeypatch
):
    folder = compose("rgb", "radar")
    before = snapshot(folder)
    measure = integration._measure

    def fail(suite, name, ensemble):
        if "+" in name:
            raise RuntimeError("out of memory")
        return measure(suite, name, ensemble)

    monkeypatch.setattr(integration, "_measure", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(folder, "b-rgb")
    assert snapshot(folder) == before
    cells = {
        path: path.stat().st_mtime_ns
        for path in (folder / "integration" / "cells").iterdir()
        if path.suffix == ".json"
    }
    assert len(cells) == 1
    monkeypatch.setattr(integration, "_measure", measure)
    run(folder, "b-rgb")
    assert {path: path.stat().st_mtime_ns for path in cells} == cells


def test_a_write_that_fails_leaves_the_ensemble(compose, run, monkeypatch, guild):
    folder = compose("radar")
    before = snapshot(folder)

    def fail(*given):
        raise OSError("disk full")

    monkeypatch.setattr("router.ensemble_files.write_manifest", fail)
    with pytest.raises(OSError, match="disk full"):
        run(folder, "rgb")
    assert {name: before[name] for name in before} == {
        name: content for name, content in snapshot(folder).items() if name in before
    }
    assert len(Ensemble.load(folder, guild).members) == 1


def test_a_change_meanwhile_is_not_overwritten(compose, run, monkeypatch, guild):
    folder = compose("radar")
    measure = integration._measure

    def meddle(suite, name, ensemble):
        if "+" in name:
            Ensemble.load(folder, guild).save(folder, "refine")
        return measure(suite, name, ensemble)

    monkeypatch.setattr(integration, "_measure", meddle)
    with pytest.raises(InputError, match=r"was changed while rgb@1\.0\.0 was measured"):
        run(folder, "rgb")
    assert [manifest.action for manifest in list_manifests(folder)] == ["compose", "refine"]


@pytest.mark.filterwarnings("ignore:no member can run")
def test_rollback_brings_back_the_same_outputs(compose, run, guild):
    folder = compose("radar", trunk="toy-trunk")
    bands = load_sensor("rgb-aerial").channels
    x_BCHW = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def answer():
        return Ensemble.load(folder, guild).forward_features(x_BCHW, bands)

    before = answer()
    ensemble = Ensemble.load(folder, guild)
    ensemble.add("rgb", guild)
    ensemble.save(folder, "add")
    assert not torch.equal(answer()[0], before[0])
    manifest = rollback(folder, 1, guild)
    assert (manifest.version, manifest.parent, manifest.action) == (3, 2, "rollback")
    assert manifest.reasons == ("back to manifest 1 from 2: members radar@1.0.0",)
    assert all(map(torch.equal, answer(), before))
    assert len(list_manifests(folder)) == 3


def test_a_rollback_to_what_is_gone_is_refused(compose, guild, tmp_path):
    folder = compose("radar")
    for version in (0, 1, 7):
        with pytest.raises(InputError, match="there is no earlier one"):
            rollback(folder, version, guild)
    ensemble = Ensemble.load(folder, guild)
    ensemble.add("rgb", guild)
    ensemble.save(folder, "add")
    with pytest.raises(InputError, match="give 1 to 1"):
        rollback(folder, 2, guild)
    before = snapshot(folder)
    with pytest.raises(InputError, match=r"radar@1\.0\.0"):
        rollback(folder, 1, Registry.open(tmp_path / "empty"))
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "{ensemble}", "no-such", SUITE), "no-such"),
        (("add", "{ensemble}", "rgb", SUITE), "rgb@1.0.0 is named twice"),
        (("add", "nowhere", "rgb", SUITE), "nowhere is no ensemble's folder"),
        (("add", "{ensemble}", "heat", "suite=[{data: no_data, protocol: knn}]"), "no_data"),
        (("add", "{ensemble}", "heat", "suite=[{data: toy_scenes}]"), "expected a mapping such as"),
        (("add", "{ensemble}", "heat", "suite=toy"), "expected a list such as"),
        (("add", "{ensemble}", "heat", "suite=[{"), "cannot be read"),
        (
            ("add", "{ensemble}", "heat", "suite=[{data: toy_scenes, protocol: pixel_linear}]"),
            "protocol pixel_linear has nothing to say of data toy_scenes",
        ),
        (
            ("add", "{ensemble}", "heat", SUITE.replace("linear", "linear, digest: '0'")),
            "not what the suite was frozen with",
        ),
        (("add", "{ensemble}", "heat", SUITE, "tolerance=-1"), "tolerance=-1.0 is below 0"),
        (("add", "{ensemble}", "heat", SUITE, "decide_by=luck"), "interval, mean"),
        (("add", "{ensemble}", "heat", SUITE, "no_key=1"), "no_key"),
        (("rollback", "{ensemble}", "1"), "there is no earlier one"),
        (("rollback", "{ensemble}", "one"), "invalid int value"),
        (("history", "nowhere"), "nowhere is no ensemble's folder"),
    ],
)
def test_bad_input_leaves_everything_as_it_was(call, compose, toy_configs, words, message):
    folder = compose("rgb", "radar")
    before = snapshot(folder)
    given = [word.replace("{ensemble}", str(folder)) for word in words]
    if given[0] == "add":
        given += ["--config-dir", toy_configs]
    code, printed = call(*given)
    assert code == 2
    assert message in printed
    assert "Traceback" not in printed
    assert snapshot(folder) == before


def test_a_task_that_nobody_can_answer_is_named(run, compose):
    with pytest.raises(InputError, match="suite task toy_scenes/linear cannot be measured, with"):
        run(compose("radar"), "heat")


@pytest.mark.slow
def test_the_command_adds_rolls_back_and_tells_the_history(call, compose, toy_configs):
    folder = compose("radar")
    code, printed = call("add", folder, "rgb", SUITE, "--config-dir", toy_configs, "--dry-run")
    assert code == 0
    assert "Dry run" in printed
    code, printed = call("add", folder, "rgb", SUITE, "--config-dir", toy_configs)
    assert code == 0
    assert "add: rgb@1.0.0: gains on toy_scenes/linear" in printed
    assert "is at manifest 2" in printed
    code, printed = call("rollback", folder, 1)
    assert code == 0
    assert "is at manifest 3: back to manifest 1" in printed
    code, printed = call("history", folder)
    assert code == 0
    for word in ("compose", "add", "rollback", "+ rgb@1.0.0", "- rgb@1.0.0", "accuracy"):
        assert word in printed
    code, printed = call("add", folder, "rgb", SUITE, "-c", "job")
    assert "tolerance: 0.005" in printed


def test_help_explains_every_word(call):
    code, printed = call("--help")
    assert code == 0
    for word in ("add", "rollback", "history", "explain", "usage", "members="):
        assert word in printed
    assert call()[0] == 2
    for word in ("add", "rollback", "history"):
        code, printed = call(word, "--help")
        assert code == 0
        assert "ENSEMBLE" in printed


def test_other_words_go_to_the_part_that_teaches(call, monkeypatch):
    from router.composing import cli

    seen = []
    for name in ("fit_main", "explain_main", "usage_main"):
        monkeypatch.setattr(cli, name, lambda argv, name=name: seen.append((name, list(argv))))
    call("explain", "ensemble", "image.tif")
    call("usage", "ensemble", "data=toy")
    call("data=toy", "run_dir=x")
    assert seen == [
        ("explain_main", ["ensemble", "image.tif"]),
        ("usage_main", ["ensemble", "data=toy"]),
        ("fit_main", ["data=toy", "run_dir=x"]),
    ]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_left_the_manifest(compose, guild, toy_data, toy_configs):
    folder = compose("rgb", "radar", "heat")
    before = snapshot(folder)
    suite = [f"{{data: {data}, protocol: linear}}" for data in ("toy_scenes", "toy_labels")]
    command = [
        *(sys.executable, "-c", "from evaluation.integration_cli import main; main()"),
        *("add", str(folder), "b-rgb", f"suite=[{','.join(suite)}]", "resamples=50"),
        *("--config-dir", str(toy_configs)),
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TERRAGUILD_DATA": str(toy_data),
        "TERRAGUILD_REGISTRY": str(guild.store.root),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    cells = folder / "integration" / "cells"
    deadline = time.monotonic() + 120
    while len(list(cells.glob("*.json"))) < 1:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert snapshot(folder) == before
    done = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    assert len(after) > len(done)
    assert {name: after[name] for name in done} == done
    assert read_manifest(folder).version == 2
