"""Every experiment composes to a checked configuration, and finds its chips where there is data."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from rasters.simulate import CLASSES, simulate_scene, write_scene
from sensors import InputError
from specialists.config import compose_config, parse_command_line, to_plain
from specialists.data import load_splits
from specialists.warm_start_config import compose_pretrain_config, parse_pretrain_command_line

EXPERIMENTS = sorted(
    entry.name.removesuffix(".yaml")
    for entry in (resources.files("configs") / "experiment").iterdir()
    if entry.name.endswith(".yaml")
)
WITHOUT_FILES = {"folders", "pairs", "simulated", "table"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes(name):
    config = compose_config([f"experiment={name}", "data.root=/data"])
    assert config.name == config.data.name == name
    assert config.run_dir == f"runs/{name}"
    assert config.data.licence
    assert config.data.source
    plain = to_plain(config)
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain


@pytest.mark.parametrize("name", sorted(set(EXPERIMENTS) - WITHOUT_FILES))
def test_experiment_finds_its_chips(name, shared_data):
    config = compose_config([f"experiment={name}", f"data.root={shared_data}"])
    chips = load_splits(config.data).chips
    assert {"train", "selection", "test", *config.data.other_tests} == set(chips)
    if config.data.split.by != "component":
        ids = [id_ for split in ("train", "selection") for id_ in chips[split].ids]
        assert len(ids) == len(set(ids))
    for part in chips.values():
        assert part.bands == chips["train"].bands
        assert part.classes == chips["train"].classes
        item = part[0]
        assert item["image"].shape[0] == len(part.bands)
        assert item["valid"].any()


def test_every_data_set_is_in_the_documentation():
    table = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for entry in (resources.files("configs") / "data").iterdir():
        if entry.name.endswith(".yaml"):
            config = compose_config([f"data={entry.name.removesuffix('.yaml')}"]).data
            row = next((line for line in table.splitlines() if f"`{config.name}`" in line), "")
            assert row.startswith("|"), f"{config.name} has no row"
            assert row.rstrip(" |").endswith(f"| {config.licence}")


def test_experiments_hold_only_what_differs():
    """A value that repeats the default would hide a later change of the default."""
    default = to_plain(compose_config(["data=eurosat_rgb"]))
    for name in EXPERIMENTS:
        text = (resources.files("configs") / "experiment" / f"{name}.yaml").read_text()
        own = yaml.safe_load(text)
        for group in ("trainer", "specialist"):
            for key, value in own.get(group, {}).items():
                if not isinstance(value, dict):
                    assert default[group][key] != value, f"{name}: {group}.{key}"


def test_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TERRAGUILD_DATA", "/somewhere")
    assert compose_config(["data=eurosat_rgb"]).data.train.folder == (
        "/somewhere/eurosat_rgb/train"
    )
    monkeypatch.delenv("TERRAGUILD_DATA")
    assert compose_config(["data=eurosat_rgb"]).data.root == "data"


def test_overrides_reach_every_group():
    config = compose_config(
        [
            "experiment=eurosat_rgb",
            "trainer.lr=1e-4",
            "trainer.augment.mixup=0.3",
            "specialist.architecture=convnextv2_nano",
            "data.split.seed=3",
            "seed=5",
        ]
    )
    assert config.trainer.lr == 1e-4
    assert config.trainer.augment.mixup == 0.3
    assert config.specialist.architecture == "convnextv2_nano"
    assert (config.data.split.seed, config.seed) == (3, 5)


def test_splits_may_be_given_files_and_weights_a_start():
    config = compose_config(
        [
            "data=eurosat_rgb",
            "data.test.folder=/mine",
            "data.split.fractions={selection: 0.2}",
            "specialist.pretrained.file=/weights",
            "specialist.pretrained.licence=CC-BY-NC-4.0",
        ]
    )
    assert config.data.test.folder == "/mine"
    assert config.data.split.fractions == {"selection": 0.2}
    assert config.specialist.pretrained.file == "/weights"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=eurosat_rgb", "specialist.pretrained.file=/weights"], "licence"),
        (
            [
                "data=eurosat_rgb",
                "specialist.pretrained.file=/weights",
                "specialist.pretrained.registry=s2-start",
            ],
            "/weights and the registered model s2-start: name one",
        ),
        ([], "data"),
        (["data=nowhere"], "nowhere"),
        (["experiment=eurosat_rgb", "trainer.learning=1"], "learning"),
        (["experiment=eurosat_rgb", "+trainer.learning=1"], "learning"),
        (["experiment=eurosat_rgb", "trainer.epochs=many"], "many"),
        (["experiment=eurosat_rgb", "trainer.epochs"], "trainer.epochs"),
    ],
)
def test_what_cannot_be_used_is_named(overrides, message):
    with pytest.raises(InputError, match=message):
        compose_config(overrides)


def test_groups_of_ones_own(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "name: mine\ntitle: Mine\nlicence: CC0-1.0\nsource: here\nkind: folders\n"
        "sensor: naip\ntrain: {folder: /mine}\n"
    )
    config = compose_config(["data=mine"], config_dir=tmp_path)
    assert config.data.train.folder == "/mine"
    with pytest.raises(InputError, match="not a folder"):
        compose_config(["data=mine"], config_dir=tmp_path / "absent")
    (tmp_path / "data" / "typo.yaml").write_text(
        "name: typo\ntitle: T\nlicence: x\nsource: y\nkind: folders\nsensors: naip\ntrain: {}\n"
    )
    with pytest.raises(InputError, match="sensors"):
        compose_config(["data=typo"], config_dir=tmp_path)


def test_configuration_can_be_shown(capsys):
    assert parse_command_line(["--cfg", "job", "experiment=eurosat_rgb", "seed=7"]) is None
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 7


def test_pretraining_takes_every_data_set():
    for entry in (resources.files("configs") / "data").iterdir():
        if entry.name.endswith(".yaml"):
            name = entry.name.removesuffix(".yaml")
            config = compose_pretrain_config([f"data={name}", "data.root=/data"])
            assert config.run_dir == f"runs/{name}_backbone"
            plain = to_plain(config)
            assert yaml.safe_load(yaml.safe_dump(plain)) == plain


def test_pretraining_has_no_keys_of_labels():
    assert compose_pretrain_config(["trainer.masking.patch=8"]).trainer.masking.patch == 8
    for override in ("trainer.loss=mse", "specialist.head=pool"):
        with pytest.raises(InputError, match=override.split("=")[0]):
            compose_pretrain_config([override])


def test_pretraining_configuration_can_be_shown(capsys):
    assert parse_pretrain_command_line(["--cfg", "job", "seed=7"]) is None
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["seed"], shown["data"]["kind"]) == (7, "images")


def test_simulated_scenes_are_found(tmp_path):
    for split, seeds in (("train", range(5)), ("test", [9])):
        for seed in seeds:
            scene = simulate_scene(seed, size=64)
            write_scene(tmp_path / "simulated" / split / f"scene_{seed}", scene)
    config = compose_config(["experiment=simulated", f"data.root={tmp_path}"])
    chips = load_splits(config.data).chips
    scenes = {name: {id_.split("/")[0] for id_ in part.ids} for name, part in chips.items()}
    assert scenes["test"] == {"scene_9"}
    assert scenes["train"] | scenes["selection"] == {f"scene_{seed}" for seed in range(5)}
    assert not scenes["train"] & scenes["selection"]
    assert chips["train"].classes == CLASSES


@pytest.mark.parametrize("override", ["trainer=1", "trainer=null", "nothing.there=1", "data="])
def test_an_override_that_hydra_cannot_use_is_refused_in_our_words(override):
    with pytest.raises(InputError, match="the configuration cannot be used"):
        compose_config(["data=eurosat_rgb", override])
