"""A warm start: learned without labels, whole on disk, and what specialists start from."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch

from sensors import InputError
from specialists import build_specialist, load_backbone, load_specialist
from specialists.config import (
    BackboneConfig,
    PretrainedConfig,
    SpecialistConfig,
    TrainConfig,
    TrainerConfig,
)
from specialists.data import ChipsConfig, DataConfig
from specialists.run import RunFolder
from specialists.splitting import SplitConfig
from specialists.train import train_specialist
from specialists.warm_start import pretrain_backbone
from specialists.warm_start_config import MaskingConfig, PretrainConfig, PretrainTrainerConfig

RUN_FILES = {
    *("config.yaml", "spec.json", "weights.safetensors", "metrics.json", "training.json"),
    *("reconstruction.png", "checkpoints", "logs"),
}


def config_of(root, run_dir, data=None, **recipe):
    """A short pretraining on the toy scenes in `root`; `data` replaces entries of the data."""
    settings = {
        "name": "toy",
        "title": "Toy",
        "licence": "CC0-1.0",
        "source": "made by a test",
        "kind": "folders",
        "train": ChipsConfig(folder=str(root / "scenes")),
        "split": SplitConfig(fractions={"selection": 0.2, "test": 0.2}, seed=1),
        "sensor": "rgb-aerial",
        "gsd": 10,
    }
    return PretrainConfig(
        name="toy",
        run_dir=str(run_dir),
        data=DataConfig(**settings | (data or {})),
        specialist=BackboneConfig(stem_stride=2),
        trainer=PretrainTrainerConfig(
            accelerator="cpu",
            energy=False,
            masking=MaskingConfig(decoder_width=16),
            **{"epochs": 1, "batch_size": 8} | recipe,
        ),
    )


def train_config(pretrain, run_dir, **pretrained):
    return TrainConfig(
        name="toy",
        run_dir=str(run_dir),
        data=pretrain.data,
        specialist=SpecialistConfig(stem_stride=2, pretrained=PretrainedConfig(**pretrained)),
        trainer=TrainerConfig(accelerator="cpu", epochs=1, batch_size=8, energy=False),
    )


def images(folder, **entries):
    return {
        "kind": "images",
        "task": "similarity-search",
        "train": ChipsConfig(images=str(folder)),
        "split": SplitConfig(fractions={"selection": 0.3}),
    } | entries


@pytest.fixture(scope="session")
def finished(toy_data, tmp_path_factory):
    """The configuration of a pretraining that is finished in its `run_dir`; only to be read."""
    config = config_of(toy_data, tmp_path_factory.mktemp("start") / "run", epochs=6)
    pretrain_backbone(config, command="pretrain-backbone ...")
    return config


def test_the_run_folder_is_complete_and_something_was_learned(finished):
    run = RunFolder(Path(finished.run_dir))
    assert run.status == "finished"
    assert {path.name for path in run.path.iterdir()} == RUN_FILES
    metrics, training = run.read_json("metrics.json"), run.read_json("training.json")
    floor = metrics["floors"]["patch_mean"]["masked_mse"]
    assert 0 < metrics["selection"]["masked_mse"] < 0.9 * floor < 1
    assert training["data"]["class_counts"] == {}
    assert training["command"] == "pretrain-backbone ..."
    with rasterio.open(run.path / "reconstruction.png") as picture:
        assert len(set(picture.read(1).ravel().tolist())) > 10
    start = load_specialist(run.weights)
    assert start.spec.to_dict() == run.read_json("spec.json")
    assert (start.spec.task, start.spec.classes) == ("similarity-search", ())
    assert all(name.startswith("backbone.") for name in start.state_dict())
    assert start.predict(torch.rand(2, 3, 16, 16)).shape == (2, start.num_features)


def test_a_specialist_starts_from_it(finished, tmp_path):
    weights = RunFolder(Path(finished.run_dir)).weights
    config = train_config(finished, tmp_path / "run", file=str(weights), licence="CC0-1.0")
    started = train_specialist(config)
    assert started.read_json("training.json")["pretrained"]["licence"] == "CC0-1.0"
    start = load_specialist(weights).state_dict()
    moved = [
        (tensor - start[name]).abs().max()
        for name, tensor in load_specialist(started.weights).state_dict().items()
        if name.endswith("conv_dw.weight")
    ]
    assert 0 < max(moved) < 0.05  # one short epoch away from where it started


def test_its_bands_are_found_by_wavelength(finished, make_spec):
    weights = RunFolder(Path(finished.run_dir)).weights
    start = load_specialist(weights)
    red, green, blue = start.bands
    spec = make_spec(bands=(blue, red, green), mean=(0.0,) * 3, std=(1.0,) * 3)
    turned = build_specialist(spec)
    load_backbone(turned, weights)
    filters = start.backbone.stem_0.weight[:, [2, 0, 1]]
    torch.testing.assert_close(turned.backbone.stem_0.weight, filters)


def test_a_finished_run_is_left_alone_and_an_interrupted_one_ends_alike(finished, tmp_path, capsys):
    config = replace(finished, run_dir=str(tmp_path / "copy"))
    run = RunFolder(Path(shutil.copytree(finished.run_dir, config.run_dir)))
    weights, metrics = run.weights.read_bytes(), run.read_json("metrics.json")
    pretrain_backbone(config)
    assert "overwrite=true trains anew" in capsys.readouterr().out
    # As if the process had been killed between the last epoch and the scores.
    for name in ("metrics.json", "weights.safetensors", "reconstruction.png"):
        (run.path / name).unlink()
    pretrain_backbone(config)
    assert run.weights.read_bytes() == weights
    assert run.read_json("metrics.json") == metrics
    changed = replace(config.trainer, masking=MaskingConfig(ratio=0.7, decoder_width=16))
    with pytest.raises(InputError, match=r"trainer.masking.ratio \(was 0.6, is 0.7\)"):
        pretrain_backbone(replace(config, trainer=changed))


@pytest.mark.slow
def test_neither_labels_nor_test_chips_have_an_influence(toy_data, tmp_path):
    split = SplitConfig(by="group", assign={"selection": ["p2"], "test": ["p3"]})
    weights = []
    for name in ("as they are", "changed"):
        root = tmp_path / name
        shutil.copytree(toy_data / "scenes", root / "scenes")
        head, *rows = (toy_data / "labels.csv").read_text().splitlines()
        rows = [row.split(",") for row in rows]
        if name == "changed":
            rows = [[row[0], "dry;warm", *row[2:]] for row in rows]
            for file, *_, place in rows:
                if place == "p3":
                    (root / file).write_bytes(b"not a picture")
        lines = [head, *(",".join(row) for row in rows)]
        (root / "labels.csv").write_text("\n".join(lines))
        data = {"kind": "table", "train": ChipsConfig(table=str(root / "labels.csv"))}
        data |= {"label_column": "labels", "multi_label": True, "group_column": "place"}
        config = config_of(root, root / "run", data | {"split": split})
        weights.append(pretrain_backbone(config).weights.read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_tiles_of_large_images(toy_data, tmp_path):
    config = config_of(toy_data, tmp_path / "run", images(toy_data / "images", tile=16))
    run = pretrain_backbone(config)
    assert load_specialist(run.weights).spec.chip_size == 16
    assert sum(run.read_json("training.json")["data"]["counts"].values()) == 24


@pytest.mark.slow
def test_a_pretraining_may_start_from_another(finished, tmp_path):
    weights = RunFolder(Path(finished.run_dir)).weights
    pretrained = PretrainedConfig(file=str(weights), licence="CC0-1.0")
    onwards = replace(
        finished,
        run_dir=str(tmp_path / "onwards"),
        specialist=BackboneConfig(stem_stride=2, pretrained=pretrained),
        trainer=replace(finished.trainer, lr=1e-9, epochs=1),
    )
    then = load_specialist(pretrain_backbone(onwards).weights).state_dict()
    for name, tensor in load_specialist(weights).state_dict().items():
        torch.testing.assert_close(then[name], tensor, atol=1e-5, rtol=0)


def test_a_run_never_removes_its_own_start(finished):
    weights = RunFolder(Path(finished.run_dir)).weights
    before = weights.read_bytes()
    config = train_config(finished, finished.run_dir, file=str(weights), licence="CC0-1.0")
    with pytest.raises(InputError, match="lies in run_dir"):
        train_specialist(replace(config, overwrite=True))
    assert weights.read_bytes() == before


def test_chips_without_labels_train_no_specialist(toy_data, tmp_path):
    unlabelled = config_of(toy_data, tmp_path, images(toy_data / "scenes" / "lake"))
    with pytest.raises(InputError, match=r"no labels.*pretrain-backbone"):
        train_specialist(train_config(unlabelled, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_registered_start_must_be_looked_up(toy_data, tmp_path):
    config = config_of(toy_data, tmp_path)
    with pytest.raises(InputError, match="s2-start was not looked up"):
        train_specialist(train_config(config, tmp_path / "run", registry="s2-start"))
    assert not (tmp_path / "run").exists()
