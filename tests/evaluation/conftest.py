"""Configurations of the toy data sets, as a user's own folder of configuration."""

from pathlib import Path

import pytest
import torch
import yaml

from registry import Registry
from router import TrunkSpec, build_trunk
from router.ensemble import Ensemble
from router.registering import register_trunk
from sensors import Band, load_sensor
from specialists import SpecialistSpec, build_specialist

PICTURES = {"sensor": "rgb-aerial", "gsd": 1.0, "licence": "CC0-1.0", "source": "the tests"}
CUT = {"by": "hash", "fractions": {"selection": 0.25, "test": 0.35}}


@pytest.fixture(scope="session")
def toy_configs(tmp_path_factory) -> Path:
    """`toy_scenes`, `toy_masks`, `toy_labels`, `toy_values` and `toy_heights`, for `--config-dir`.

    Their root is the folder of `toy_data`.
    """
    folder = tmp_path_factory.mktemp("configs")
    pairs = {"kind": "pairs", "tile": 16}
    images = "${data.root}/images"
    sets = {
        "toy_scenes": {"kind": "folders", "train": {"folder": "${data.root}/scenes"}},
        "toy_masks": pairs
        | {
            "task": "semantic-segmentation",
            "classes": ["dark", "bright"],
            "train": {"images": images, "masks": "${data.root}/masks"},
        },
        "toy_heights": pairs
        | {
            "task": "regression",
            "classes": ["height"],
            "train": {"images": images, "masks": "${data.root}/heights"},
        },
        "toy_labels": {
            "kind": "table",
            "multi_label": True,
            "label_column": "labels",
            "group_column": "place",
            "train": {"table": "${data.root}/labels.csv"},
        },
        "toy_values": {
            "kind": "table",
            "task": "regression",
            "label_column": ["warmth", "depth"],
            "train": {"table": "${data.root}/labels.csv"},
        },
    }
    (folder / "data").mkdir()
    for name, content in sets.items():
        entries = {"name": name, "title": name, **PICTURES, "split": CUT, **content}
        (folder / "data" / f"{name}.yaml").write_text(yaml.safe_dump(entries))
    return folder


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Run a command in this process; gives its exit code and what it printed."""

    def run_main(main, name, *words, columns="200"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
        else:
            code = 0
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run_main


RGB = load_sensor("rgb-aerial").channels
RADAR = load_sensor("sentinel-1-grd").select("VV", "VH")
THERMAL = (Band("heat", 10.9, 0.6, quantity="temperature"),)


@pytest.fixture(scope="session")
def guild(tmp_path_factory) -> Registry:
    """Small specialists without training, and a trunk `toy-trunk`.

    `rgb` and `b-rgb` tell colours apart, as any weights do; `a-blind` takes the same bands and says
    the same of every image; `radar` and `heat` take bands that pictures do not have.
    """
    registry = Registry.open(tmp_path_factory.mktemp("guild"))

    def add(name: str, bands, seed: int, *, blind: bool = False) -> None:
        torch.manual_seed(seed)
        spec = SpecialistSpec(
            task="scene-classification",
            bands=bands,
            classes=("field", "lake", "roof"),
            mean=(0.4,) * len(bands),
            std=(0.3,) * len(bands),
            gsd=1.0,
            chip_size=16,
            head="pool",
        )
        specialist = build_specialist(spec)
        if blind:
            with torch.no_grad():
                next(iter(specialist.backbone.parameters())).zero_()
        registry.add(specialist, name=name, version="1.0.0", license="Apache-2.0")

    add("rgb", RGB, 1)
    add("b-rgb", RGB, 2)
    add("a-blind", RGB, 3, blind=True)
    add("radar", RADAR, 4)
    add("heat", THERMAL, 5)
    torch.manual_seed(6)
    small = {"width": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "image_size": 32}
    trunk = build_trunk(TrunkSpec(generator_hidden_size=32, **small))
    register_trunk(registry, trunk, name="toy-trunk", version="1.0.0", license="Apache-2.0")
    return registry


@pytest.fixture
def compose(guild, tmp_path):
    """Compose and save an ensemble of `guild`; gives its folder."""

    def compose(*members: str, folder: str = "ensemble", **settings) -> Path:
        settings = {"top_k": 1, "channels": (8, 16, 24, 32)} | settings
        ensemble = Ensemble.compose(members, registry=guild, **settings)
        ensemble.save(tmp_path / folder)
        return tmp_path / folder

    return compose
