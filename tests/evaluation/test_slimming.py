"""`slim-specialist`: from a registered specialist to a registered slim one, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from evaluation.slimming import slim_registered
from evaluation.slimming_cli import main
from evaluation.slimming_rows import read_rows
from registry import Registry
from registry.prototype import Prototype
from router.registering import register_run
from sensors import InputError
from specialists import load_specialist
from specialists.run import RunFolder
from specialists.slimming_config import compose_slim_config

COMMAND = str(Path(sys.executable).with_name("slim-specialist"))
PROTOTYPE = Prototype("a" * 64, (0.5, 1.0), (1.0, 2.0), 12)


@pytest.fixture
def home(guild, tmp_path) -> Registry:
    """A registry of its own, with the specialist `rgb`."""
    registry = Registry.open(tmp_path / "registry")
    registry.add(
        guild.get("rgb"),
        name="rgb",
        version="1.0.0",
        license="MIT",
        description="colours",
        prototypes=[PROTOTYPE],
    )
    return registry


@pytest.fixture
def words(home, toy_data, tmp_path):
    """What a short run on the toy scenes takes, as overrides; later ones count."""
    return [
        "data=toy_scenes",
        f"data.root={toy_data}",
        f"registry={home.store.root}",
        f"run_dir={tmp_path / 'run'}",
        "trainer.epochs=1",
        "trainer.batch_size=8",
        "trainer.accelerator=cpu",
        "trainer.energy=false",
    ]


@pytest.fixture
def slim(words, toy_configs):
    def slim(*overrides, source="rgb"):
        return slim_registered(
            compose_slim_config(source, [*words, *overrides], toy_configs), command="slim ..."
        )

    return slim


@pytest.fixture
def call(run_main, words, toy_configs):
    """Run the command; gives its exit code and what it printed."""

    def call(*arguments):
        return run_main(main, "slim-specialist", *arguments, *words, "--config-dir", toy_configs)

    return call


def files_of(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_result_is_registered_with_all_that_it_comes_from(slim, home, tmp_path):
    before = files_of(home.store.root)
    card = slim()
    source = home.specialist("rgb@1.0.0")
    assert str(card.reference) == "rgb-slim50@1.0.0"
    assert card.parents == ("rgb@1.0.0",)
    assert card.prototypes == source.prototypes == (PROTOTYPE,)
    assert card.license == "MIT"
    assert card.training["slimming"] == {
        "source": "rgb@1.0.0",
        "source_sha256": source.sha256,
        "ratio": 0.5,
        "scope": "hidden",
        "importance": "magnitude",
        "recover": "distil",
    }
    assert card.training["data"]["name"] == "toy_scenes"
    assert card.spec.hidden_widths == (80,) * 2 + (160,) * 2 + (320,) * 6 + (640,) * 2
    assert card.feature_channels == source.feature_channels
    assert card.parameters < 0.6 * source.parameters
    assert card.macs < 0.6 * source.macs
    assert home.verify() == {}
    after = files_of(home.store.root)
    assert {path: after[path] for path in before} == before

    run = RunFolder(tmp_path / "run")
    x_BCHW = torch.rand(2, 3, 16, 16)
    restored = home.get("rgb-slim50").predict(x_BCHW)
    assert torch.equal(restored, load_specialist(run.weights).predict(x_BCHW))
    rows = read_rows(run)
    assert [row.name for row in rows] == ["rgb@1.0.0", "slimmed", "recovered (distil)"]
    assert [row.file_bytes for row in rows] == [source.size, card.size, card.size]
    assert [row.parameters for row in rows] == [source.parameters, card.parameters, card.parameters]
    assert all(set(row.latency_ms) == {1, 32} for row in rows)
    assert (run.path / "slimming.png").stat().st_size > 1000
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert rows[-1].score.value == pytest.approx(metrics["test"]["accuracy"])


def test_a_finished_run_is_not_done_again(slim, capsys, tmp_path):
    card = slim("recover=none")
    written = files_of(tmp_path / "run")
    capsys.readouterr()
    assert slim("recover=none") == card
    assert "is finished, and registered as rgb-slim50@1.0.0" in capsys.readouterr().out
    assert files_of(tmp_path / "run") == written


def test_the_run_folder_can_be_registered_by_hand(slim, home, tmp_path):
    slim("recover=none", "scope=full", "name=other")
    card = register_run(home, tmp_path / "run", name="by-hand", version="2.0.0")
    assert card.spec.stage_widths == (20, 40, 80, 160) == card.feature_channels
    assert card.sha256 == home.card("other").sha256


@pytest.mark.slow
def test_recovery_by_labels_learns_the_task(slim, tmp_path):
    card = slim("recover=labels", "trainer.epochs=8", "trainer.lr=2e-3", "scope=full", "ratio=0.75")
    rows = read_rows(RunFolder(tmp_path / "run"))
    assert rows[-1].score.value > 0.9
    assert rows[-1].score.value > rows[1].score.value
    assert card.feature_channels == (10, 20, 40, 80)


@pytest.mark.slow
def test_distillation_comes_nearer_to_the_whole_specialist(slim, home, toy_data, tmp_path):
    none = slim("recover=none", "ratio=0.75", f"run_dir={tmp_path / 'none'}", "name=none-75")
    words = [
        "ratio=0.75",
        "trainer.epochs=12",
        "trainer.batch_size=4",
        "trainer.augment.brightness=0",
    ]
    distil = slim(*words, "name=distil-75")
    [chips] = [toy_chips(toy_data)]
    wanted = home.get("rgb").forward_features(chips)[-1]
    errors = [
        (home.get(card.reference).forward_features(chips)[-1] - wanted).norm()
        for card in (none, distil)
    ]
    assert errors[1] < 0.7 * errors[0]


def toy_chips(toy_data):
    from rasters import ChipDataset

    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    return torch.stack([chips[number]["image"] for number in range(0, 36, 5)])


@pytest.mark.slow
def test_distillation_does_not_depend_on_labels(words, toy_data, toy_configs, home, tmp_path):
    """The same images under other masks, and under none, end as the same weights."""
    specialist = make_pixel_specialist(home)
    results = []
    for name, masks in (("right", "masks"), ("wrong", "wrong")):
        for mask in (toy_data / "masks").iterdir():
            target = tmp_path / "data" / "wrong" / mask.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shift_mask(mask, target)
        link = tmp_path / "data" / "masks"
        link.exists() or link.symlink_to(toy_data / "masks")
        overrides = [
            *words,
            "data=toy_masks",
            f"data.train.images={toy_data / 'images'}",
            f"data.train.masks={tmp_path / 'data' / masks}",
            f"run_dir={tmp_path / name}",
            f"name=pixel-{name}",
            "trainer.epochs=2",
        ]
        results.append(slim_registered(compose_slim_config(specialist, overrides, toy_configs)))
    assert results[0].sha256 == results[1].sha256
    assert results[0].metrics["test"] != results[1].metrics["test"]


def shift_mask(source, target):
    import rasterio

    with rasterio.open(source) as given:
        values, profile = given.read(), given.profile
    labelled = values != 255
    values[labelled] = 1 - values[labelled]
    values[:, 3, 3] = 0
    with rasterio.open(target, "w", **profile) as made:
        made.write(values)


def make_pixel_specialist(registry):
    from sensors import load_sensor
    from specialists import SpecialistSpec, build_specialist

    torch.manual_seed(0)
    spec = SpecialistSpec(
        task="semantic-segmentation",
        bands=load_sensor("rgb-aerial").channels,
        classes=("dark", "bright"),
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        gsd=1.0,
        chip_size=16,
        decoder="linear",
    )
    return str(registry.add(build_specialist(spec), name="pixel", version="1.0.0").reference)


@pytest.mark.slow
def test_chips_without_labels_do_for_distillation(slim, toy_data, toy_configs, tmp_path):
    folder = toy_configs / "data"
    unlabelled = yaml.safe_load((folder / "toy_scenes.yaml").read_text()) | {
        "name": "toy_images",
        "kind": "images",
        "task": "similarity-search",
        "train": {"images": "${data.root}/scenes/*/*.png"},
    }
    (folder / "toy_images.yaml").write_text(yaml.safe_dump(unlabelled))
    card = slim("data=toy_images")
    assert card.metrics["selection"]["answer_error"] >= 0
    assert [row.metric for row in read_rows(RunFolder(tmp_path / "run"))] == ["no score"] * 3
    with pytest.raises(InputError, match="no labels"):
        slim("data=toy_images", "recover=labels", "name=other", f"run_dir={tmp_path / 'b'}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ratio=1"], "ratio 1.0 is not between 0 and 1"),
        (["ratio=0"], "ratio 0.0"),
        (["ratio=nan"], "ratio nan"),
        (["scope=head"], "scope 'head'.*hidden, full"),
        (["importance=luck"], "importance 'luck'"),
        (["recover=prayer"], "recover=prayer.*distil, labels, none"),
        (["images=0"], "images=0"),
        (["data=toy_masks"], "semantic-segmentation of dark, bright.*data.classes"),
        (["data.bands=[red,green]"], r"has the bands .*data\.bands"),
        (["name=rgb"], "rgb@1.0.0 is in the registry"),
        (["name=A"], "'A' is not a model name"),
        (["version=1"], "'1' is not a version"),
        (["trainer.augment.mixup=0.2"], "mix labels"),
        (["trainer.epoch=3"], "epoch"),
        (["data.root=/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_changes_nothing(slim, home, tmp_path, overrides, message):
    before = files_of(home.store.root)
    with pytest.raises(InputError, match=message):
        slim(*overrides)
    assert files_of(home.store.root) == before
    assert not (tmp_path / "run").exists()


def test_the_command_ends_with_the_table(call):
    code, text = call("rgb", "recover=none", "ratio=0.25")
    assert code == 0, text
    assert "rgb-slim25@1.0.0 is registered in" in text
    for word in ("accuracy (95 %)", "MACs", "ms, batch 32", "rgb@1.0.0", "slimmed"):
        assert word in text
    code, text = call("rgb", "recover=none", "ratio=0.25")
    assert code == 0
    assert "is finished" in text
    code, text = call("rgb", "recover=none", "ratio=0.5", "name=rgb-slim25")
    assert code == 2
    assert "ratio (was 0.25, is 0.5)" in text
    code, text = call("rgb", "recover=none", "name=rgb-slim25", "overwrite=true")
    assert code == 2
    assert "choose a higher one" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nobody"], "nobody"), (["rgb", "ratio=1.5"], "between 0 and 1"), (["rgb", "+x=1"], "x")],
)
def test_the_command_refuses_with_2(call, arguments, message):
    code, text = call(*arguments)
    assert code == 2
    assert message in text
    assert "Traceback" not in text


def test_the_configuration_can_be_looked_at(call):
    code, text = call("rgb", "--cfg", "job", "ratio=0.3")
    assert code == 0
    shown = yaml.safe_load(text)
    assert (shown["source"], shown["ratio"], shown["recover"]) == ("rgb", 0.3, "distil")


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(home, words, toy_configs, tmp_path):
    def start(name):
        arguments = [COMMAND, "rgb", *words, "--config-dir", str(toy_configs), f"name={name}"]
        arguments += ["trainer.epochs=4", "scope=full", f"run_dir={tmp_path / name}"]
        return subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    with start("whole") as process:
        process.communicate()
    assert process.returncode == 0
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    with start("killed") as process:
        wait_for_epoch(last, 1, process)
        os.kill(process.pid, signal.SIGKILL)
    assert [str(reference) for reference in home.store.references("killed")] == []
    with start("killed") as process:
        text, _ = process.communicate()
    assert "Going on from" in text
    assert home.card("killed").sha256 == home.card("whole").sha256


def wait_for_epoch(checkpoint, epoch, process, timeout=300):
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["epoch"] >= epoch:
            return
        time.sleep(0.02)
    pytest.fail(f"epoch {epoch} was not saved; exit code {process.poll()}")


def test_a_run_that_was_killed_before_it_was_registered_is_registered(slim, home):
    card = slim("recover=none")
    home.remove(card.reference)
    again = slim("recover=none")
    assert (again.sha256, again.parents) == (card.sha256, card.parents)
