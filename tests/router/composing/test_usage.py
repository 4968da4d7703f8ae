import json

import matplotlib.image
import pytest
import torch
import yaml

from rasters import ChipDataset
from router.composing.cli import explain_main, usage_main
from router.composing.usage import ALL, measure_usage
from router.composing.usage_picture import draw_usage
from router.ensemble import Ensemble
from sensors import InputError


@pytest.fixture(scope="module")
def ensemble(registry):
    return Ensemble.compose(
        ["visible", "optical", "radar"],
        "small-trunk",
        registry=registry,
        top_k=1,
        trunk_image_size=16,
    )


@pytest.fixture(scope="module")
def folder(ensemble, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    ensemble.save(folder)
    return folder


@pytest.fixture
def data(two_sensors, tmp_path):
    """A configuration group of ones own: arguments of a command that reads the chips."""
    (tmp_path / "data").mkdir()
    group = {
        "name": "two-sensors",
        "title": "Two sensors",
        "licence": "CC0-1.0",
        "source": "made by a test",
        "kind": "folders",
        "train": {"folder": str(two_sensors)},
        "split": {"fractions": {"selection": 0.2, "test": 0.4}},
    }
    (tmp_path / "data" / "mine.yaml").write_text(yaml.safe_dump(group))
    return ["--config-dir", str(tmp_path), "data=mine"]


def test_usage_is_what_the_gate_says_of_each_image(ensemble, two_sensors):
    chips = ChipDataset.from_folders(two_sensors)
    usage = measure_usage(ensemble, chips, batch_size=5)
    assert usage.members == ("optical@1.0.0", "radar@1.0.0", "visible@1.0.0")
    assert usage.counts == {ALL: 36, "field": 12, "lake": 12, "roof": 12}
    assert usage.can_run == pytest.approx(
        {"optical@1.0.0": 2 / 3, "radar@1.0.0": 1, "visible@1.0.0": 2 / 3}
    )
    for name, rows in (("lake", range(12, 24)), (ALL, range(36))):
        weights = [
            ensemble.gate_weights(chips[row]["image"][None], chips.bands, chips[row]["valid"][None])
            for row in rows
        ]
        for member, share in usage.shares[name].items():
            own = torch.cat([weight[member] for weight in weights])
            assert share.weight == pytest.approx(own.mean().item(), abs=1e-6)
            assert share.asked == pytest.approx((own > 0).float().mean().item())
    # One member an image: a weight of 1, and all are asked in as many images as it takes.
    assert sum(share.asked for share in usage.shares[ALL].values()) == pytest.approx(1)
    assert usage.nobody == 0


def test_images_without_a_member_are_counted(registry, two_sensors):
    alone = Ensemble.compose(
        ["optical"], "small-trunk", registry=registry, top_k=1, trunk_image_size=16
    )
    usage = measure_usage(alone, ChipDataset.from_folders(two_sensors))
    assert usage.nobody == pytest.approx(1 / 3)
    assert usage.shares[ALL]["optical@1.0.0"].weight == pytest.approx(2 / 3)


def test_the_picture_is_darker_where_the_weight_is_larger(ensemble, two_sensors, tmp_path):
    usage = measure_usage(ensemble, ChipDataset.from_folders(two_sensors))
    draw_usage(usage, tmp_path / "usage.png", "two sensors")
    picture = matplotlib.image.imread(tmp_path / "usage.png")
    assert picture.shape[0] > 200
    assert picture.shape[1] > 400
    assert len({tuple(pixel) for pixel in picture[::5, ::5, :3].reshape(-1, 3)}) > 10


def test_usage_of_any_data_set_is_drawn(folder, registry, data, tmp_path, capsys):
    out = tmp_path / "who.png"
    usage_main(
        [str(folder), *data, f"out={out}", "split=test", "--registry", str(registry.store.root)]
    )
    record = json.loads((tmp_path / "who.json").read_text())
    assert (record["data"], record["split"]) == ("two-sensors", "test")
    assert record["images"] == sum(record["classes"].values()) > 5
    weights = [member["weight"] for member in record["members"].values()]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert out.stat().st_size > 1000
    assert "radar@1.0.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["split=nowhere"], "no split nowhere"),
        (["out=/nowhere/a.png"], "not a .png in a folder"),
        (["out=a.txt"], "not a .png"),
        (["data=nowhere"], "nowhere"),
        (["data.colour=1"], "colour"),
    ],
)
def test_what_cannot_be_counted_is_named(folder, registry, data, tmp_path, changes, message):
    arguments = [*data, f"out={tmp_path / 'who.png'}", *changes]
    with pytest.raises(InputError, match=message):
        usage_main([str(folder), *arguments, "--registry", str(registry.store.root)])
    assert not (tmp_path / "who.png").exists()


def explain(folder, registry, *arguments):
    explain_main([str(folder), *map(str, arguments), "--registry", str(registry.store.root)])


def test_an_image_is_explained(folder, registry, two_sensors, capsys):
    explain(folder, registry, two_sensors / "lake" / "lake_1.tif")
    clear = capsys.readouterr().out
    assert clear.count("@1.0.0") == 3
    assert clear.count("not chosen, probability") == 2
    assert "cannot run" not in clear
    explain(folder, registry, two_sensors / "lake" / "lake_0.tif")
    clouded = " ".join(capsys.readouterr().out.split())
    assert clouded.count("cannot run, missing") == 2
    assert "red (0.665 um" in clouded
    assert "radar@1.0.0 │ 1.000" in clouded


def test_a_part_of_an_image_is_explained(folder, registry, two_sensors, capsys):
    image = two_sensors / "lake" / "lake_1.tif"
    explain(folder, registry, image, "--window", 0, 0, 8, 8)
    assert "radar@1.0.0" in capsys.readouterr().out
    for arguments in (("nowhere.tif",), (image, "--sensor", "nowhere")):
        with pytest.raises(InputError, match="nowhere"):
            explain(folder, registry, *arguments)
    with pytest.raises(InputError, match="nowhere"):
        explain("nowhere", registry, image)
