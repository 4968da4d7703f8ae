"""Configurations of the toy data sets, as a user's own folder of configuration."""

from pathlib import Path

import pytest
import yaml

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
