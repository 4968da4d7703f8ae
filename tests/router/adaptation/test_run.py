"""Adaptation: every task is learned, what is frozen stays, and a killed run ends like any other."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rasters import ChipDataset
from router import TrunkSpec, build_trunk, load_adapted, load_trunk, save_trunk
from router.adaptation import AdaptConfig, ModeConfig, adapt_trunk
from sensors import InputError, load_sensor
from specialists.config import HeadConfig, TrainerConfig
from specialists.data import ChipsConfig, DataConfig
from specialists.splitting import SplitConfig

RUN_FILES = {"config.yaml", "spec.json", "weights.safetensors", "metrics.json", "training.json"}
COMMAND = [sys.executable, "-c", "from router.adaptation.cli import main; main()"]
ROOT = Path(__file__).parents[3]
RED = load_sensor("rgb-aerial").channels[0]


@pytest.fixture(scope="module")
def trunk_file(tmp_path_factory):
    """A small trunk of random weights that knows one band."""
    torch.manual_seed(7)
    spec = TrunkSpec(
        width=32,
        depth=2,
        num_heads=2,
        patch_size=8,
        image_size=32,
        generator_hidden_size=32,
        bands=(RED,),
        mean=(0.4,),
        std=(0.3,),
    )
    path = tmp_path_factory.mktemp("start") / "trunk.safetensors"
    save_trunk(build_trunk(spec), path)
    return path


@pytest.fixture
def make_config(toy_data, tmp_path, trunk_file):
    """A short run on the toy scenes; `data` replaces entries of the data, others of the recipe."""

    def make(data=None, mode=None, head=None, **recipe):
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
        recipe = {"epochs": 2, "batch_size": 4, "lr": 1e-2, "channels_last": False} | recipe
        return AdaptConfig(
            name="toy",
            run_dir=str(tmp_path / "run"),
            data=DataConfig(**settings | (data or {})),
            trunk=str(trunk_file),
            head=head or HeadConfig(head="pool", decoder="linear"),
            mode=mode or ModeConfig(),
            trainer=TrainerConfig(accelerator="cpu", energy=False, **recipe),
        )

    return make


def pairs(toy_data, masks, **entries):
    images = ChipsConfig(images=str(toy_data / "images"), masks=str(toy_data / masks))
    groups = {"by": "group", "group_pattern": r"^(\d)", "assign": {"selection": ["0", "1"]}}
    return {"kind": "pairs", "train": images, "split": SplitConfig(**groups)} | entries


def table(toy_data, **entries):
    chips = ChipsConfig(table=str(toy_data / "labels.csv"))
    return {"kind": "table", "train": chips} | entries


def unlabelled(toy_data):
    images = ChipsConfig(images=str(toy_data / "images"))
    half = SplitConfig(fractions={"selection": 0.5})
    return {"kind": "images", "task": "similarity-search", "train": images, "split": half}


def test_a_linear_probe_learns_on_a_trunk_that_stays_as_it_was(make_config, trunk_file):
    run = adapt_trunk(make_config(epochs=6), command="adapt-trunk ...")
    assert run.status == "finished"
    assert {path.name for path in run.path.iterdir()} == RUN_FILES | {"checkpoints", "logs"}
    metrics, training = run.read_json("metrics.json"), run.read_json("training.json")
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["floors"]["majority"]["accuracy"] < 0.6
    assert training["trunk"]["file"] == "trunk.safetensors"
    assert training["data"]["licence"] == "CC0-1.0"
    network = load_adapted(run.weights)
    assert network.adapted_spec.to_dict() == run.read_json("spec.json")
    before = load_trunk(trunk_file).state_dict()
    after = network.trunk.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # The band that the trunk knew keeps its statistics; the others have those of the chips.
    known = network.trunk.spec
    assert [band.name for band in known.bands] == [band.name for band in network.spec.bands]
    assert (known.mean[0], known.std[0]) == (0.4, 0.3)
    assert (known.mean[1:], known.std[1:]) == (network.spec.mean[1:], network.spec.std[1:])


@pytest.mark.slow
def test_all_of_a_trunk_learns_several_labels(make_config, toy_data, trunk_file):
    data = table(toy_data, label_column="labels", multi_label=True)
    run = adapt_trunk(make_config(data, ModeConfig("full", layer_decay=0.8), lr=5e-3, epochs=4))
    assert run.read_json("metrics.json")["test"]["map"] > 0.9
    before = load_trunk(trunk_file).cls_token
    assert not torch.equal(load_adapted(run.weights).trunk.cls_token, before)


@pytest.mark.slow
def test_a_part_learns_values(make_config, toy_data):
    data = table(toy_data, task="regression", label_column=["warmth", "depth"])
    run = adapt_trunk(make_config(data, ModeConfig("partial", patch_embed=True), epochs=8))
    metrics = run.read_json("metrics.json")
    assert metrics["selection"]["rmse"] < 0.6 * metrics["floors"]["majority"]["rmse"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "decoder"), [(ModeConfig(), "linear"), (ModeConfig("partial", last_blocks=1), "unet")]
)
def test_pixels_are_learned_linearly_or_with_a_decoder(make_config, toy_data, mode, decoder):
    data = pairs(toy_data, "masks", task="semantic-segmentation", classes=["dark", "bright"])
    config = make_config(data, mode, HeadConfig(decoder=decoder), epochs=12, batch_size=2)
    metrics = adapt_trunk(config).read_json("metrics.json")
    assert metrics["selection"]["miou"] > metrics["floors"]["majority"]["miou"] + 0.15


@pytest.mark.slow
def test_the_best_weights_answer_as_they_were_scored(make_config, toy_data):
    run = adapt_trunk(make_config(epochs=3))
    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    network = load_adapted(run.weights)
    stack = torch.stack([chips[number]["image"] for number in range(len(chips))])
    classes = network.predict(stack, chips.bands).argmax(1)
    labels = torch.tensor([chips[number]["label"] for number in range(len(chips))])
    assert (classes == labels).float().mean() > 0.8


@pytest.mark.slow
def test_random_weights_of_a_size_follow_from_the_seed(make_config, tmp_path):
    config = replace(make_config(epochs=1), trunk="dofa-nano")
    trunks = [
        load_adapted(
            adapt_trunk(replace(config, run_dir=str(tmp_path / name), seed=seed)).weights
        ).trunk
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, again, other = (trunk.cls_token for trunk in trunks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_cannot_be_adapted_is_refused_and_nothing_is_lost(make_config, toy_data, tmp_path):
    config = make_config()
    for changed, message in (
        (replace(config, trunk="nowhere"), "no trunk at 'nowhere'"),
        (replace(config, trunk=str(tmp_path / "no.safetensors")), "is not a file"),
        (replace(config, image_size=30), "whole patches of 8"),
        (make_config(mode=ModeConfig("partial", last_blocks=3)), "has 2 blocks"),
        (make_config(head=HeadConfig(head="tail")), "tail"),
        (make_config(unlabelled(toy_data)), "no labels to learn a task from"),
    ):
        with pytest.raises(InputError, match=message):
            adapt_trunk(changed)
        assert not Path(config.run_dir).exists()
    run = adapt_trunk(config)
    weights = run.weights.read_bytes()
    for trunk in (run.path, run.weights):
        with pytest.raises(InputError, match="lies in run_dir"):
            adapt_trunk(replace(config, trunk=str(trunk), overwrite=True))
    assert run.weights.read_bytes() == weights


def test_a_run_goes_on_without_its_statistics_being_measured_again(make_config):
    config = make_config(epochs=2)
    run = adapt_trunk(config)
    weights = run.weights.read_bytes()
    # As if the process had been killed between the last epoch and the scores.
    for name in ("metrics.json", "training.json", "weights.safetensors"):
        (run.path / name).unlink()
    assert adapt_trunk(config).weights.read_bytes() == weights


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bytes(toy_data, trunk_file, tmp_path):
    overrides = [
        "data=eurosat_rgb",
        f"trunk={trunk_file}",
        "mode=full",
        f"data.train.folder={toy_data / 'scenes'}",
        "data.test.folder=null",
        "image_size=32",
        "trainer.epochs=4",
        "trainer.batch_size=8",
        "trainer.ema=0.5",
        "trainer.accelerator=cpu",
        "trainer.augment.noise=0.1",
        "head.drop_rate=0.1",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert "adapted trunk" in adapt([*overrides, f"run_dir={whole}"]).stdout
    with subprocess.Popen(
        [*COMMAND, *overrides, f"run_dir={killed}"], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        wait_for_epoch(killed / "checkpoints" / "last.ckpt", 1, process)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "metrics.json").exists()
    assert "Going on from" in adapt([*overrides, f"run_dir={killed}"]).stdout
    for name in ("weights.safetensors", "metrics.json", "spec.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_bad_input_exits_with_2_and_leaves_nothing(toy_data, tmp_path):
    overrides = [
        "data=eurosat_rgb",
        "trunk=dofa-nano",
        f"data.train.folder={toy_data / 'scenes'}",
        "data.test.folder=null",
        "image_size=30",
        "run_dir=run",
    ]
    result = adapt(overrides, tmp_path, code=2)
    assert result.stderr.startswith("error:")
    assert "whole patches of 16" in result.stderr
    assert not any(tmp_path.iterdir())


def adapt(overrides, cwd=ROOT, code=0):
    result = subprocess.run(
        [*COMMAND, *overrides],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    return result


def wait_for_epoch(checkpoint, epoch, process, timeout=300):
    """Until an epoch (counted from 0) is saved; the file appears whole at any time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["epoch"] >= epoch:
            return
        time.sleep(0.05)
    pytest.fail(f"epoch {epoch} was not saved; exit code {process.poll()}")
