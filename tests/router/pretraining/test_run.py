"""pretrain-trunk: learns, leaves a whole folder, goes on after a kill, and loses nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch

from router import load_trunk, read_trunk_spec
from router.pretraining.config import compose_trunk_config
from router.pretraining.run import pretrain_trunk
from sensors import InputError
from specialists.run import RunFolder

RUN_FILES = {
    *("config.yaml", "spec.json", "weights.safetensors", "metrics.json", "training.json"),
    *("decoder.safetensors", "before.json", "reconstructions", "checkpoints", "logs"),
}
COMMAND = [sys.executable, "-c", "from router.pretraining.cli import main; main()"]
ROOT = Path(__file__).parents[3]
SHORT = {"sources": "[optical]", "steps": 2, "trainer__epochs": 2}
LONG = {"steps": 30, "trainer__epochs": 4, "trainer__lr": 0.1, "trainer__warmup": 0.1}


@pytest.fixture(scope="session")
def make_config(overrides, sources_dir):
    """The configuration of a short pretraining; keywords as for `overrides`."""
    return lambda **changes: compose_trunk_config(overrides(**changes), sources_dir)


@pytest.fixture(scope="session")
def finished(make_config, tmp_path_factory):
    """The folder of a short pretraining on the optical source; only to be read."""
    config = make_config(run_dir=tmp_path_factory.mktemp("runs") / "short", **SHORT)
    return pretrain_trunk(config, command="pretrain-trunk ...")


@pytest.fixture(scope="session")
def learned(make_config, tmp_path_factory):
    """The same, long enough to learn something."""
    run_dir = tmp_path_factory.mktemp("runs") / "long"
    return pretrain_trunk(make_config(sources="[optical]", run_dir=run_dir, **LONG))


def test_the_folder_is_whole(finished):
    assert finished.status == "finished"
    assert {path.name for path in finished.path.iterdir()} == RUN_FILES
    metrics = finished.read_json("metrics.json")
    assert metrics["mse"] == metrics["selection"]["optical"]["mse"] > 0
    assert "forgetting" not in metrics  # of a decoder that had learned nothing
    training = finished.read_json("training.json")
    [source] = training["data"]["sources"]
    assert (source["name"], source["licence"], source["share"]) == ("optical", "CC0-1.0", 1.0)
    assert sum(source["counts"].values()) < 30  # the test chips are not among them
    assert training["command"] == "pretrain-trunk ..."
    assert training["epochs"] == 2
    assert training["start"]["sources"] == []
    pictures = sorted((finished.path / "reconstructions").iterdir())
    assert [path.name for path in pictures] == [f"epoch_00{n}_optical.png" for n in range(2)]
    with rasterio.open(pictures[-1]) as picture:
        assert len(set(picture.read(1).ravel().tolist())) > 10


@pytest.mark.slow
def test_something_is_learned(learned):
    scores = learned.read_json("metrics.json")["selection"]["optical"]
    assert 0 < scores["mse"] < 0.7 * scores["floor"] < 1


def test_the_trunk_knows_its_bands_and_is_that_of_the_best_epoch(finished):
    trunk = load_trunk(finished.weights)
    assert [band.name for band in trunk.spec.bands] == ["B02", "B03", "B04", "B08"]
    assert trunk.spec.mean[3] == pytest.approx(0.275, rel=0.1)
    assert trunk.spec.to_dict() == finished.read_json("spec.json")
    best = torch.load(finished.best_checkpoint, weights_only=True)["state_dict"]
    for name, value in trunk.state_dict().items():
        assert torch.equal(best[f"trunk.{name}"], value)


def test_a_finished_run_is_left_alone_and_an_interrupted_one_ends_alike(
    finished, make_config, tmp_path, capsys
):
    plain = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copy")))
    config = make_config(run_dir=plain.path, **SHORT)
    before = plain.weights.read_bytes(), plain.read_json("metrics.json")
    pretrain_trunk(config)
    assert "overwrite=true trains anew" in capsys.readouterr().out
    # As if the process had been killed between the last epoch and the scores.
    for name in ("metrics.json", "weights.safetensors", "decoder.safetensors"):
        (plain.path / name).unlink()
    pretrain_trunk(config)
    assert (plain.weights.read_bytes(), plain.read_json("metrics.json")) == before
    with pytest.raises(InputError, match=r"image_size \(was 32, is 16\)"):
        pretrain_trunk(replace(config, image_size=16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, r"image_size 30: .*24 x 24 and 32 x 32 fit"),
        ({"image_size": 8}, "single patch.*16 or more"),
        ({"trunk": "dofa-tiny"}, "dofa-nano"),
        ({"trainer__distillation__teacher": "vit_of_nowhere"}, "vit_of_nowhere"),
        ({"sources": "[{base: optical, train: {images: /nowhere}}]"}, "/nowhere"),
    ],
)
def test_what_cannot_be_used_costs_no_earlier_run(
    finished, make_config, tmp_path, changes, message
):
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))
    config = make_config(run_dir=run.path, overwrite="true", **changes)
    with pytest.raises(InputError, match=message):
        pretrain_trunk(config)
    assert run.status == "finished"
    assert run.weights.read_bytes() == finished.weights.read_bytes()
    with pytest.raises(InputError, match=message):
        pretrain_trunk(replace(config, run_dir=str(tmp_path / "new"), overwrite=False))
    assert not (tmp_path / "new").exists()


def test_a_broken_trunk_is_refused(finished, make_config, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(finished.weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        pretrain_trunk(make_config(trunk=broken, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_never_removes_its_own_start(finished, make_config):
    before = finished.weights.read_bytes()
    config = make_config(trunk=finished.path, run_dir=finished.path, overwrite="true")
    with pytest.raises(InputError, match="lies in run_dir"):
        pretrain_trunk(config)
    assert finished.weights.read_bytes() == before


def test_another_decoder_cannot_go_on(finished, make_config, tmp_path):
    changes = {"trunk": finished.path, "trainer__decoder__width": 64, "run_dir": tmp_path / "run"}
    with pytest.raises(InputError, match=r"trainer\.decoder; give it the size"):
        pretrain_trunk(make_config(**changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_new_sensor_is_learned_and_the_old_one_not_forgotten(
    learned, make_config, tmp_path, capsys
):
    config = make_config(trunk=learned.path, run_dir=tmp_path / "run", **LONG)
    run = pretrain_trunk(config)
    table = run.read_json("metrics.json")["forgetting"]
    old, new = table["sources"]["optical"], table["sources"]["radar"]
    first = learned.read_json("metrics.json")["selection"]["optical"]["mse"]
    assert old["before"] == pytest.approx(first, rel=1e-5)
    assert (old["seen_before"], new["seen_before"]) == (True, False)
    assert old["now"] < 1.1 * old["before"]
    assert new["now"] < 0.8 * new["before"]
    assert old["ratio"] == pytest.approx(old["now"] / old["before"])
    # Statistics of known bands stay, those of new ones come after them.
    earlier, now = (read_trunk_spec(folder.weights) for folder in (learned, run))
    assert now.bands[:4] == earlier.bands
    assert now.mean[:4] == earlier.mean
    assert [band.name for band in now.bands[4:]] == ["VV", "VH"]
    assert run.read_json("training.json")["start"]["sources"] == ["optical"]

    capsys.readouterr()
    alone = make_config(
        sources="[radar,{base: optical, weight: 0}]",
        trunk=run.weights,
        run_dir=tmp_path / "alone",
        **LONG,
    )
    lost = pretrain_trunk(alone).read_json("metrics.json")["forgetting"]["sources"]["optical"]
    assert lost["ratio"] > old["ratio"]
    onwards = make_config(sources="[radar]", trunk=tmp_path / "alone", run_dir=tmp_path / "third")
    table = pretrain_trunk(onwards).read_json("metrics.json")["forgetting"]
    assert table["not_scored"] == ["optical"]
    assert "has learned from optical, too" in capsys.readouterr().out


@pytest.mark.slow
def test_chips_may_be_read_in_other_processes(finished, make_config, tmp_path):
    run = pretrain_trunk(make_config(run_dir=tmp_path / "run", workers=2, **SHORT))
    assert run.weights.read_bytes() == finished.weights.read_bytes()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(finished, overrides, sources_dir, tmp_path):
    """The process is killed once two epochs are saved; it had gone on from an earlier trunk."""
    given = overrides(trunk=finished.path, trainer__epochs=4, trainer__ema=0.5)
    given += ["--config-dir", str(sources_dir)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _pretrain([*given, f"run_dir={whole}"])
    with subprocess.Popen(
        [*COMMAND, *given, f"run_dir={killed}"], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        _wait_for_epoch(killed / "checkpoints" / "last.ckpt", 1, process)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "metrics.json").exists()
    assert "Going on from" in _pretrain([*given, f"run_dir={killed}"])
    for name in ("weights.safetensors", "decoder.safetensors", "metrics.json", "before.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert len(list((killed / "reconstructions").iterdir())) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [("sources=[nowhere]", "nowhere"), ("image_size=33", "40 x 40 fit"), ("stepz=1", "stepz")],
)
def test_bad_input_exits_with_2_and_leaves_nothing(
    override, message, overrides, sources_dir, tmp_path
):
    given = [*overrides(), "--config-dir", str(sources_dir), "run_dir=run", override]
    result = _run(given, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error:")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())


def _run(given, cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *given], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def _pretrain(given):
    result = _run(given)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _wait_for_epoch(checkpoint, epoch, process, timeout=300):
    """Until an epoch (counted from 0) is saved; the file appears whole at any time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["epoch"] >= epoch:
            return
        time.sleep(0.05)
    pytest.fail(f"epoch {epoch} was not saved; exit code {process.poll()}")
