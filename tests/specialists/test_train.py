"""Training: every task learns, the run folder is complete, and a killed run ends like any other."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sensors import InputError
from specialists import load_specialist
from specialists.config import SpecialistConfig, TrainConfig, TrainerConfig
from specialists.data import ChipsConfig, DataConfig
from specialists.splitting import SplitConfig
from specialists.train import train_specialist

RUN_FILES = {"config.yaml", "spec.json", "weights.safetensors", "metrics.json", "training.json"}
COMMAND = [sys.executable, "-c", "from registry.training import train_main; train_main()"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_config(toy_data, tmp_path):
    """A short run on the toy scenes; `data` replaces entries of the data, others of the recipe."""

    def make(data=None, **recipe):
        settings = {
            "name": "toy",
            "title": "Toy",
            "licence": "CC0-1.0",
            "source": "made by a test",
            "kind": "folders",
            "train": ChipsConfig(folder=str(toy_data / "scenes")),
            "split": SplitConfig(fractions={"selection": 0.2, "test": 0.2}, seed=1),
            "sensor": "rgb-aerial",
            "gsd": 10,
        }
        return TrainConfig(
            name="toy",
            run_dir=str(tmp_path / "run"),
            data=DataConfig(**settings | (data or {})),
            specialist=SpecialistConfig(stem_stride=2),
            trainer=TrainerConfig(accelerator="cpu", **{"epochs": 1, "batch_size": 8} | recipe),
        )

    return make


def _losses(run):
    [log] = (run.path / "logs").rglob("metrics.csv")
    header, *rows = (line.split(",") for line in log.read_text().splitlines())
    column = header.index("train_loss")
    return [float(row[column]) for row in rows if row[column]]


def pairs(toy_data, masks, **entries):
    images = ChipsConfig(images=str(toy_data / "images"), masks=str(toy_data / masks))
    groups = {"by": "group", "group_pattern": r"^(\d)", "assign": {"selection": ["0", "1"]}}
    return {"kind": "pairs", "train": images, "split": SplitConfig(**groups)} | entries


def table(toy_data, **entries):
    chips = ChipsConfig(table=str(toy_data / "labels.csv"))
    return {"kind": "table", "train": chips} | entries


def test_scenes_are_learned_and_the_run_folder_is_complete(make_config):
    run = train_specialist(make_config(epochs=6), command="train-specialist ...")
    assert run.status == "finished"
    assert {path.name for path in run.path.iterdir()} == RUN_FILES | {"checkpoints", "logs"}
    metrics, training = run.read_json("metrics.json"), run.read_json("training.json")
    assert metrics["test"]["accuracy"] > 0.95
    assert metrics["floors"]["linear_statistics"]["accuracy"] > 0.95
    assert metrics["floors"]["majority"]["accuracy"] < 0.6
    assert metrics["floors"]["majority"].keys() == metrics["test"].keys()
    counts = training["data"]["counts"]
    assert sum(counts.values()) == 36
    assert sum(training["data"]["class_counts"].values()) == counts["train"]
    assert re.fullmatch("[0-9a-f]{64}", training["data"]["split_hash"])
    assert training["data"]["licence"] == "CC0-1.0"
    assert training["seconds"] > 0
    assert training["energy_kwh"] > 0
    assert training["energy_method"].startswith("codecarbon")
    assert training["epochs"] == 6
    assert list((run.path / "logs").rglob("metrics.csv"))
    assert list((run.path / "logs").rglob("events.out.tfevents.*"))
    assert _losses(run)[-1] < _losses(run)[0]
    specialist = load_specialist(run.weights)
    best = torch.load(run.best_checkpoint, weights_only=True)["state_dict"]
    for name, value in specialist.state_dict().items():
        assert torch.equal(best[f"specialist.{name}"], value)
    assert specialist.spec.to_dict() == run.read_json("spec.json")
    assert specialist.spec.classes == ("field", "lake", "roof")
    assert [band.quantity for band in specialist.bands] == ["brightness"] * 3


def test_multi_label(make_config, toy_data):
    data = table(toy_data, label_column="labels", multi_label=True)
    run = train_specialist(make_config(data, epochs=4, class_weights="balanced"))
    metrics = run.read_json("metrics.json")
    assert metrics["test"]["map"] > 0.9
    assert set(metrics["test"]["average_precision"]) == {"cool", "dry", "green", "warm", "wet"}
    assert load_specialist(run.weights).spec.multi_label


def test_segmentation_with_ignored_pixels(make_config, toy_data):
    data = pairs(toy_data, "masks", task="semantic-segmentation", classes=["dark", "bright"])
    settings = {"epochs": 8, "batch_size": 2, "loss": "cross-entropy-dice"}
    run = train_specialist(make_config(data, class_weights="balanced", **settings))
    metrics = run.read_json("metrics.json")
    assert metrics["selection"]["miou"] > 0.8
    support = metrics["selection"]["support"]
    assert sum(support.values()) % (32 * 31) == 0


def test_regression_of_scenes_is_in_the_targets_own_units(make_config, toy_data):
    data = table(toy_data, task="regression", label_column=["warmth", "depth"])
    run = train_specialist(make_config(data, epochs=6))
    spec = load_specialist(run.weights).spec
    assert spec.classes == ("warmth", "depth")
    assert 280 < spec.target_mean[0] < 300
    metrics = run.read_json("metrics.json")
    assert metrics["selection"]["rmse"] < 0.5 * metrics["floors"]["majority"]["rmse"]


def test_regression_of_pixels(make_config, toy_data):
    data = pairs(toy_data, "heights", task="regression", classes=["height"])
    run = train_specialist(make_config(data, epochs=8, batch_size=2, loss="mse"))
    spec = load_specialist(run.weights).spec
    assert spec.is_per_pixel
    assert 180 < spec.target_mean[0] < 220
    metrics = run.read_json("metrics.json")
    assert metrics["selection"]["rmse"] < metrics["floors"]["majority"]["rmse"]


def test_finished_run_is_left_alone_and_another_is_refused(make_config, capsys):
    config = make_config()
    run = train_specialist(config)
    before = run.weights.stat().st_mtime_ns
    capsys.readouterr()
    train_specialist(config)
    assert "finished" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"another run: seed \(was 0, is 1\)"):
        train_specialist(replace(config, seed=1))
    assert run.weights.stat().st_mtime_ns == before


def test_energy_of_an_interrupted_run_is_kept(make_config):
    config = make_config(epochs=2)
    run = train_specialist(config)
    whole = run.read_json("training.json")["energy_kwh"]
    # As if the process had been killed between the last epoch and the scores.
    for name in ("metrics.json", "training.json"):
        (run.path / name).unlink()
    resumed = train_specialist(config).read_json("training.json")["energy_kwh"]
    assert 0 < resumed <= whole


def test_energy_is_left_out_if_not_wanted(make_config):
    training = train_specialist(make_config(energy=False)).read_json("training.json")
    assert not [name for name in training if "energy" in name]


def test_class_without_training_samples_is_named(make_config, toy_data):
    data = pairs(
        toy_data, "masks", task="semantic-segmentation", classes=["dark", "bright", "snow"]
    )
    with pytest.raises(InputError, match="no training sample of class snow"):
        train_specialist(make_config(data))


def test_chips_of_different_sizes_are_refused(make_config, toy_data, tmp_path):
    shutil.copytree(toy_data / "scenes", tmp_path / "mixed" / "16")
    shutil.copytree(toy_data / "images", tmp_path / "mixed" / "32")
    (tmp_path / "mixed" / "16" / "field").rename(tmp_path / "mixed" / "field")
    shutil.rmtree(tmp_path / "mixed" / "16")
    config = make_config({"train": ChipsConfig(folder=str(tmp_path / "mixed"))})
    with pytest.raises(InputError, match=r"\(16, 16\) and \(32, 32\).*data.chip_size"):
        train_specialist(config)
    assert not Path(config.run_dir).exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"loss": "mse"}, "mse is for regression"),
        ({"loss": "hinge"}, "hinge"),
        ({"schedule": "steps"}, "one-cycle, cosine"),
        ({"class_weights": "some"}, "none, balanced"),
    ],
)
def test_recipe_that_does_not_fit_is_refused(make_config, recipe, message):
    with pytest.raises(InputError, match=message):
        train_specialist(make_config(**recipe))


@pytest.mark.slow
def test_training_stops_early_and_stays_stopped(make_config):
    config = make_config(epochs=9, patience=2, lr=1e-12)
    run = train_specialist(config)
    assert run.read_json("training.json")["epochs"] == 3
    weights = run.weights.read_bytes()
    # As if the process had been killed between the last epoch and the scores.
    (run.path / "metrics.json").unlink()
    run.weights.unlink()
    assert train_specialist(config).read_json("training.json")["epochs"] == 3
    assert run.weights.read_bytes() == weights


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_other_bytes(make_config, tmp_path):
    runs = [
        train_specialist(replace(make_config(), run_dir=str(tmp_path / name), seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, again, other = (run.weights.read_bytes() for run in runs)
    assert first == again
    assert first != other


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bytes(toy_data, tmp_path):
    """All that is random is on; the process is killed once two epochs are saved, then moved."""
    overrides = [
        "data=eurosat_rgb",
        f"data.train.folder={toy_data / 'scenes'}",
        "data.test.folder=null",
        "trainer.epochs=4",
        "trainer.batch_size=8",
        "trainer.ema=0.5",
        "trainer.patience=3",
        "trainer.accelerator=cpu",
        "trainer.augment.mixup=0.2",
        "trainer.augment.band_dropout=0.2",
        "trainer.augment.noise=0.1",
        "specialist.drop_path_rate=0.2",
        "specialist.drop_rate=0.1",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _train([*overrides, f"run_dir={whole}"])

    with subprocess.Popen(
        [*COMMAND, *overrides, f"run_dir={killed}"], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        _wait_for_epoch(killed / "checkpoints" / "last.ckpt", 1, process)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "metrics.json").exists()
    moved = killed.rename(tmp_path / "moved")

    resumed = _train([*overrides, f"run_dir={moved}"])
    assert "Going on from" in resumed
    for name in ("weights.safetensors", "metrics.json", "spec.json"):
        assert (moved / name).read_bytes() == (whole / name).read_bytes()
    # The best epoch may be one before the kill, the last is not.
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (whole, moved)
    )
    assert first["epoch"] == second["epoch"] == 3
    for state in ("state_dict", "current_model_state"):
        for name, value in first[state].items():
            assert torch.equal(value, second[state][name]), name


@pytest.mark.slow
def test_command_ends_with_the_next_command_and_leaves_nothing_beside_the_run(toy_data, tmp_path):
    overrides = [
        "data=eurosat_rgb",
        f"data.train.folder={toy_data / 'scenes'}",
        "data.test.folder=null",
    ]
    overrides += ["trainer.epochs=1", "name=My toy", "run_dir=run"]
    output = _train(overrides, cwd=tmp_path)
    assert output.rstrip().endswith("register-specialist run --name my-toy --version 1.0.0")
    assert "linear on statistics" in output
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"), [("trainer.epoch=1", "epoch"), ("data.root=/nowhere", "/nowhere")]
)
def test_bad_input_exits_with_2_and_leaves_nothing(override, message, tmp_path):
    result = _run(["data=eurosat_rgb", override, "run_dir=run"], cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error:")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())


def _run(overrides, cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *overrides],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _train(overrides, cwd=ROOT):
    result = _run(overrides, cwd)
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


def test_overwriting_with_unusable_data_keeps_the_earlier_run(make_config, tmp_path):
    config = make_config()
    run = train_specialist(config)
    weights = run.weights.read_bytes()
    broken = tmp_path / "broken"
    for number in range(10):
        folder = broken / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(b"not a picture")
    data = replace(config.data, train=ChipsConfig(folder=str(broken)))
    with pytest.raises(InputError):
        train_specialist(replace(config, data=data, overwrite=True))
    assert run.status == "finished"
    assert run.weights.read_bytes() == weights


def test_a_wavelength_stem_learns(make_config):
    config = make_config(epochs=6)
    config.specialist.stem = "wavelength"
    run = train_specialist(config)
    assert run.read_json("metrics.json")["test"]["accuracy"] > 0.95
    specialist = load_specialist(run.weights)
    assert specialist.spec.stem == "wavelength"
    two = specialist.bands[:2]
    assert specialist.predict(torch.rand(1, 2, 16, 16), two).shape == (1, 3)
