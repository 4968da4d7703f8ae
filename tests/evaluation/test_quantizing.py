"""`quantize-specialist`: a registered specialist gets a registered int8 form, or none."""

import sys
from copy import deepcopy

import pytest
import torch
import yaml
from sklearn.linear_model import LogisticRegression

from evaluation.before_after import Row
from evaluation.intervals import Interval
from evaluation.quantizing import drop_of, quantize_registered
from evaluation.quantizing_cli import main
from evaluation.quantizing_config import compose_quantize_config
from rasters import ChipDataset
from registry import Registry
from registry.prototype import Prototype
from sensors import InputError

pytest.importorskip("nncf")

PROTOTYPE = Prototype("a" * 64, (0.5, 1.0), (1.0, 2.0), 12)


@pytest.fixture(scope="module")
def taught(guild, toy_data):
    """The specialist `rgb` with a head that tells the toy scenes apart."""
    specialist = guild.get("rgb")
    chips = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    items = [chips[row] for row in range(len(chips))]
    x_BCHW = torch.stack([item["image"] for item in items])
    with torch.no_grad():
        vectors = specialist.head.norm(specialist.forward_features(x_BCHW)[-1].mean((2, 3)))
        fitted = LogisticRegression(C=10, max_iter=1000).fit(
            vectors.numpy(), [int(item["label"]) for item in items]
        )
        specialist.head.fc.weight.copy_(torch.tensor(fitted.coef_))
        specialist.head.fc.bias.copy_(torch.tensor(fitted.intercept_))
    return specialist


@pytest.fixture
def home(taught, guild, tmp_path) -> Registry:
    registry = Registry.open(tmp_path / "registry")
    facts = {"version": "1.0.0", "license": "MIT", "prototypes": [PROTOTYPE]}
    registry.add(taught, name="rgb", **facts)
    registry.add(guild.get("radar"), name="radar", version="1.0.0")
    return registry


@pytest.fixture
def words(home, toy_data):
    return [
        "data=toy_scenes",
        f"data.root={toy_data}",
        f"registry={home.store.root}",
        "samples=12",
        "max_drop=0.2",
    ]


@pytest.fixture
def quantize(words, toy_configs):
    def quantize(*overrides, source="rgb"):
        return quantize_registered(
            compose_quantize_config(source, [*words, *overrides], toy_configs)
        )

    return quantize


@pytest.fixture
def command(words, toy_configs, monkeypatch, capsys):
    """Runs the command in this process: exit code, standard output and error."""

    def run(*arguments, source="rgb"):
        given = [source, *words, *arguments, "--config-dir", str(toy_configs)]
        monkeypatch.setattr(sys, "argv", ["quantize-specialist", *given])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def contents(registry):
    return {
        path: path.read_bytes() for path in registry.store.root.rglob("*[!k]") if path.is_file()
    }


def test_the_result_is_registered_with_what_it_came_from(command, home):
    before = contents(home)

    code, output, errors = command()

    assert code == 0, errors
    for words in ("rgb-int8@1.0.0", "torch", "OpenVINO", "int8", "accuracy", "batch"):
        assert words in output
    assert str(home.store.root) in output.replace("\n", "")
    card, source = home.specialist("rgb-int8"), home.specialist("rgb")
    assert (card.parents, card.prototypes) == (("rgb@1.0.0",), (PROTOTYPE,))
    assert (card.sha256, card.license) == (source.sha256, "MIT")
    variant = card.variant
    assert variant.precision == "int8"
    assert variant.calibration["data"] == "toy_scenes"
    assert variant.calibration["chips"] == 12
    assert {"openvino", "nncf"} == set(variant.versions)
    assert (variant.scores["metric"], variant.scores["split"]) == ("accuracy", "test")
    assert variant.scores["float32"]["value"] > 0.9
    assert variant.scores["int8"]["value"] > 0.7
    assert variant.constants.size < 0.4 * card.size
    assert home.compiled("rgb-int8").precision == "int8"
    assert home.verify() == {}
    after = contents(home)
    assert {path: after[path] for path in before} == before


def test_a_taken_name_is_refused_before_any_work(command, words, toy_configs, home):
    home.add(home.get("rgb"), name="rgb-int8", version="1.0.0")
    code, output, errors = command("data.root=/nowhere")
    assert code == 2
    assert "already" in errors
    assert "Quantising" not in output


def test_another_name_and_version(quantize):
    card = quantize("name=rgb-small", "version=2.0.1", "license=Apache-2.0")
    assert (str(card.reference), card.license) == ("rgb-small@2.0.1", "Apache-2.0")


def test_a_score_that_drops_is_refused_with_the_figures(command, home, taught):
    # One channel far larger than the others, and weighed as much less: the same answers in floating
    # point, but ranges that hold it leave nothing for the other channels.
    fragile = deepcopy(taught)
    with torch.no_grad():
        for stage in ("stages_1", "stages_2", "stages_3"):
            norm, smaller = fragile.backbone[stage].downsample
            norm.weight[0] *= 1e5
            norm.bias[0] *= 1e5
            smaller.weight[:, 0] /= 1e5
    home.add(fragile, name="fragile", version="1.0.0")
    before = contents(home)

    code, output, errors = command("max_drop=0.02", source="fragile")

    assert code == 2
    assert "OpenVINO" in output
    said = " ".join(errors.split())
    for words in ("fragile-int8@1.0.0 is not registered", "accuracy went", "max_drop is 0.02"):
        assert words in said
    assert contents(home) == before


@pytest.mark.parametrize(
    ("overrides", "source", "said"),
    [
        ([], "nothing", "has no nothing"),
        ([], "radar", r"has the bands .* takes .*VV"),
        (["data=toy_masks"], "rgb", "does scene-classification"),
        (["samples=0"], "rgb", "samples=0"),
        (["max_drop=-1"], "rgb", "max_drop=-1"),
        (["max_drop=nan"], "rgb", "max_drop=nan"),
        (["sampels=3"], "rgb", "sampels"),
        (["name=No Name"], "rgb", "is not a model name"),
    ],
)
def test_bad_input(overrides, source, said, quantize, home):
    before = contents(home)
    with pytest.raises(InputError, match=said):
        quantize(*overrides, source=source)
    assert contents(home) == before


def test_what_is_int8_already_is_refused(quantize, home):
    quantize()
    with pytest.raises(InputError, match=r"in int8 already; quantise rgb@1\.0\.0"):
        quantize(source="rgb-int8")


def test_without_the_tools_it_is_said_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    code, output, errors = command()
    assert code == 2
    assert "terraguild[openvino]" in errors
    assert "Quantising" not in output


def test_the_configuration_can_be_seen(command):
    code, output, _ = command("-c", "job", "samples=77")
    assert code == 0
    shown = yaml.safe_load(output)
    assert (shown["source"], shown["samples"], shown["data"]["name"]) == ("rgb", 77, "toy_scenes")


@pytest.mark.parametrize(
    ("metric", "old", "new", "drop"),
    [
        ("accuracy", 0.9, 0.85, 0.05),
        ("accuracy", 0.9, 0.95, -0.05),
        ("rmse", 10.0, 10.5, 0.05),
        ("rmse", 0.0, 0.0, 0.0),
        ("rmse", 0.0, 0.1, float("inf")),
    ],
)
def test_drop(metric, old, new, drop):
    rows = [
        Row("x", metric, Interval(value, value, value, 2, "samples", 9), 1, 1, 1, {1: 1.0})
        for value in (old, new)
    ]
    assert drop_of(*rows) == pytest.approx(drop)
