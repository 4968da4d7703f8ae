"""Specs, weights, cards and schemas that the registry's tests share."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft7Validator
from referencing import Registry as SchemaRegistry
from referencing import Resource
from referencing.jsonschema import DRAFT7
from safetensors.numpy import save_file

from registry import ModelCard, Registry, SpecialistCard
from registry.checksum import file_sha256
from sensors.bands import Band, SarChannel
from specialists.files import save_weights
from specialists.header import encode_header, encode_record
from specialists.model import build_specialist
from specialists.spec import SpecialistSpec

SCHEMAS = Path(__file__).parent / "schemas"
EXTENSIONS = "https://stac-extensions.github.io/"
STAC_CORE = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/"

OPTICAL = (
    Band("B02", 0.4927, 0.065, gsd=10, common_name="blue", scale=1e-4, offset=-0.1, nodata=0),
    Band("B04", 0.6646, 0.038, gsd=10, common_name="red", scale=1e-4, offset=-0.1, nodata=0),
    Band("B11", 1.6137, 0.09, gsd=20, common_name="swir16", scale=1e-4, offset=-0.1, nodata=0),
)
RADAR = (SarChannel("VV", "VV", 5.405, gsd=10), SarChannel("VH", "VH", 5.405, gsd=10))
THERMAL = (
    Band("T10", 10.9, 0.6, gsd=100, quantity="temperature"),
    Band("odd", 0.45, 0.02, common_name="of-our-own", quantity="brightness"),
)


def make_spec(**changes: Any) -> SpecialistSpec:
    bands = changes.get("bands", OPTICAL)
    fields = {
        "task": "scene-classification",
        "bands": bands,
        "classes": ("Annual Crop", "Forest", "Sea & Lake"),
        "mean": tuple(0.1 + index / 7 for index in range(len(bands))),
        "std": tuple(0.05 + index / 13 for index in range(len(bands))),
        "gsd": 10.0,
        "chip_size": 64,
    }
    return SpecialistSpec(**(fields | changes))


SPECS = {
    "scene": make_spec(),
    "multi-label": make_spec(multi_label=True, head="pool"),
    "segmentation": make_spec(task="semantic-segmentation", bands=RADAR, decoder="fpn"),
    "regression": make_spec(
        task="regression", classes=("height", "cover"), target_mean=(3.5, 0.4), target_std=(2, 0.1)
    ),
    "regression-per-pixel": make_spec(task="regression", classes=("height",), per_pixel=True),
    "backbone": make_spec(task="similarity-search", classes=()),
    "wavelength": make_spec(bands=(*OPTICAL, *RADAR), stem="wavelength"),
    "mixed": make_spec(bands=(*RADAR, *THERMAL, *OPTICAL), stem_stride=2, gsd=30.0),
}

TRAINING = {
    "data": {
        "name": "eurosat",
        "title": "EuroSAT",
        "licence": "MIT",
        "source": "https://github.com/phelber/EuroSAT",
        "counts": {"train": 100, "selection": 20, "test": 30},
        "class_counts": {"Annual Crop": 50, "Forest": 50},
        "split_hash": "ab" * 32,
        "split": "by longitude",
    },
    "seed": 0,
    "epochs": 3,
    "command": "train-specialist experiment=eurosat",
    "started": "2026-01-01T00:00:00Z",
    "seconds": 12.5,
    "energy_kwh": 0.0003,
    "energy_method": "codecarbon: memory estimated",
    "machine": {"cpu": "any"},
    "versions": {"torch": "2.15.0"},
    "pretrained": None,
}
METRICS = {
    "selection": {"accuracy": 0.9, "macro_f1": 0.89, "f1": {"Forest": 0.9, "Sea & Lake": None}},
    "test": {"accuracy": 0.88, "macro_f1": 0.87},
    "floors": {"majority": {"accuracy": 0.5}, "linear_statistics": {"accuracy": 0.7}},
}


def make_card(spec: SpecialistSpec = SPECS["scene"], **changes: Any) -> SpecialistCard:
    fields: dict[str, Any] = {
        "name": "s2-landcover",
        "version": "1.2.3",
        "spec": spec,
        "sha256": "0f" * 32,
        "size": 1234,
        "created": "2026-01-02T03:04:05Z",
        "parameters": 3_390_000,
        "macs": 5_000_000,
        "feature_channels": (40, 80, 160, 320),
        "feature_reduction": (4, 8, 16, 32),
        "license": "Apache-2.0",
        "description": "Land cover.",
        "training": TRAINING,
        "metrics": METRICS,
        "parents": ("s2-base@1.0.0",),
    }
    return SpecialistCard(**(fields | changes))


MODELS = {
    "trunk": {"kind": "trunk", "spec": {"width": 32, "bands": [{"name": "B02"}], "scale": 0.1}},
    "ensemble": {
        "kind": "ensemble",
        "spec": {"format": 1, "members": [{"name": "s2-landcover"}], "task": None},
        "pinned": {"trunk": "1e" * 32, "member:s2-landcover@1.2.3": "0f" * 32},
    },
    "scenes": {
        "kind": "ensemble",
        "spec": {"format": 1},
        "task": "scene-classification",
        "classes": ("Annual Crop", "Sea & Lake"),
        "bands": (*OPTICAL, *RADAR),
        "gsd": 10.0,
        "pinned": {"member:s2-landcover@1.2.3": "0f" * 32},
    },
    "segmentation": {
        "kind": "ensemble",
        "spec": {"format": 1},
        "task": "semantic-segmentation",
        "classes": ("dry", "wet"),
        "bands": RADAR,
        "gsd": 20.0,
    },
    "regression": {
        "kind": "ensemble",
        "spec": {"format": 1},
        "task": "regression",
        "classes": ("height",),
        "bands": THERMAL,
        "gsd": 100.0,
    },
}


def make_model_card(**changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "guild",
        "version": "1.0.0",
        "sha256": "2d" * 32,
        "size": 99,
        "created": "2026-01-02T03:04:05Z",
        "parameters": 7_000_000,
        "macs": 9_000_000,
        "feature_channels": (32, 64),
        "feature_reduction": (4, 8),
        "license": "Apache-2.0",
        "training": {"data": {"sources": [{"name": "eurosat", "licence": "MIT"}]}, "seed": 3},
        "metrics": {"test": {"accuracy": 0.9}},
        "parents": ("s2-landcover@1.2.3",),
    }
    return ModelCard(**(fields | changes))


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model_card(request: pytest.FixtureRequest) -> ModelCard:
    return make_model_card(**request.param)


@pytest.fixture
def add_model(tmp_path: Path) -> Callable[..., ModelCard]:
    """Registers a trunk or an ensemble whose file no network could load."""

    def add_one(registry: Registry, kind: str, **changes: Any) -> ModelCard:
        facts = MODELS[kind] | changes
        path = tmp_path / f"{kind}.safetensors"
        header = encode_record(facts["kind"], facts["spec"])
        save_file({"tensor": np.full(10, len(facts), np.float32)}, path, metadata=header)
        facts |= {"sha256": file_sha256(path), "size": path.stat().st_size}
        return registry.add_model(make_model_card(**facts), path)

    return add_one


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> SpecialistSpec:
    return request.param


@pytest.fixture(scope="session")
def new_card() -> Callable[..., SpecialistCard]:
    return make_card


@pytest.fixture(scope="session")
def new_model_card() -> Callable[..., ModelCard]:
    return make_model_card


@pytest.fixture(scope="session")
def new_spec() -> Callable[..., SpecialistSpec]:
    return make_spec


@pytest.fixture
def write_weights(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Writes a small weight file that says it holds a spec; returns its path and hash."""

    def write(spec: SpecialistSpec = SPECS["scene"], seed: int = 0) -> tuple[Path, str]:
        path = tmp_path / f"weights-{seed}.safetensors"
        tensor = np.random.default_rng(seed).normal(size=(50, 10)).astype(np.float32)
        save_file({"tensor": tensor}, path, metadata=encode_header(spec))
        return path, file_sha256(path)

    return write


@pytest.fixture(scope="session")
def specialist(new_spec):
    torch.manual_seed(0)
    return build_specialist(new_spec(chip_size=16))


@pytest.fixture
def run_dir(tmp_path, specialist, new_card):
    """What `train-specialist` leaves behind, as far as a registry reads it."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_weights(specialist, folder / "weights.safetensors")
    contents = {
        "spec": specialist.spec.to_dict(),
        "training": new_card().training,
        "metrics": new_card().metrics,
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Runs code in a fresh interpreter and returns what it printed."""

    def run(code: str, *arguments: object) -> str:
        found = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    return run


@pytest.fixture(scope="session")
def validate_item() -> Callable[[dict[str, Any]], None]:
    """Validates an Item against STAC 1.1 and every extension it names; raises what is wrong."""
    schemas = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    amended = _mlm_v1_5_2(schemas["mlm-v1.4.0"])
    resources = {schema["$id"].rstrip("#"): schema for schema in schemas.values()}
    resources |= {
        STAC_CORE + name.removeprefix("stac-v1.1.0-") + ".json": schema
        for name, schema in schemas.items()
        if name.startswith("stac-")
    }
    # MLM refers to an older version of this one; a class object is the same in both.
    resources[EXTENSIONS + "classification/v1.1.0/schema.json"] = schemas["classification-v2.0.0"]
    resources[amended["$id"]] = amended
    resources |= {EXTENSIONS + f"{name}/schema.json": BANDS for name in BAND_EXTENSIONS}
    known = SchemaRegistry().with_resources(
        (address, Resource.from_contents(schema, default_specification=DRAFT7))
        for address, schema in resources.items()
    )

    def validate(item: dict[str, Any]) -> None:
        for address in (STAC_CORE + "item.json", *item["stac_extensions"]):
            schema = known.contents(address)
            Draft7Validator(schema, registry=known).validate(item)

    return validate


BAND_EXTENSIONS = ("eo/v2.0.0", "raster/v2.0.0", "sar/v1.3.1")
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}
BANDS = {
    # What the texts of these three extensions let a band have.
    "properties": {
        "properties": {
            "properties": {
                "bands": {
                    "items": {
                        "properties": {
                            "eo:center_wavelength": _ABOVE_0,
                            "eo:full_width_half_max": _ABOVE_0,
                            "eo:common_name": {
                                "enum": [
                                    *("pan", "coastal", "blue", "green", "green05", "yellow"),
                                    *("red", "rededge", "rededge071", "rededge075", "rededge078"),
                                    *("nir", "nir08", "nir09", "cirrus", "swir16", "swir22"),
                                    *("lwir", "lwir11", "lwir12"),
                                ]
                            },
                            "raster:scale": {"type": "number"},
                            "raster:offset": {"type": "number"},
                            "sar:frequency_band": {
                                "enum": ["P", "L", "S", "C", "X", "Ku", "K", "Ka"]
                            },
                            "sar:center_frequency": _ABOVE_0,
                            "sar:polarizations": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"enum": ["HH", "VV", "HV", "VH"]},
                            },
                        },
                        "patternProperties": {"^(?!(eo|raster|sar):)": {}},
                        "additionalProperties": False,
                    }
                }
            }
        }
    }
}


def _mlm_v1_5_2(published: dict[str, Any]) -> dict[str, Any]:
    """The schema of MLM v1.4.0 with the rules of v1.5 that concern a card like ours.

    v1.5 made the input's `bands` optional, let outputs have them too, and asks that bands are named
    if, and only if, `bands` is one of the dimensions.
    """
    schema = copy.deepcopy(published)
    schema["$id"] = EXTENSIONS + "mlm/v1.5.2/schema.json"
    definitions = schema["$defs"]
    named = definitions["stac_extensions_mlm"]["properties"]["stac_extensions"]["contains"]
    named["const"] = schema["$id"]
    definitions["ModelInput"]["required"] = ["name", "input"]
    output = definitions["mlm:output"]["items"]
    output["properties"]["bands"] = definitions["ModelInput"]["properties"]["bands"]
    for part, structure in (
        (definitions["mlm:input"], "input"),
        (definitions["mlm:output"], "result"),
    ):
        dimension = {"contains": {"const": "bands"}}
        part["items"] = {
            "allOf": [part["items"]],
            "if": {"required": ["bands"], "properties": {"bands": {"minItems": 1}}},
            "then": {"properties": {structure: {"properties": {"dim_order": dimension}}}},
            "else": {"properties": {structure: {"properties": {"dim_order": {"not": dimension}}}}},
        }
    definitions["mlm:tasks"]["items"]["enum"].append("downscaling")
    return schema
