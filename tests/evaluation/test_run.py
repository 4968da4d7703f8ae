"""Whole evaluations of the toy data sets."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from evaluation import filling
from evaluation.config import compose_evaluation
from evaluation.folder import ResultsFolder
from evaluation.run import evaluate
from sensors import InputError, load_sensor
from specialists import SpecialistSpec, build_specialist, save_weights

COMMAND = [str(Path(sys.executable).with_name("evaluate-encoder"))]


@pytest.fixture
def specialist(tmp_path):
    """Weight file of an untrained specialist of the toy pictures."""
    torch.manual_seed(0)
    spec = SpecialistSpec(
        task="scene-classification",
        bands=load_sensor("rgb-aerial").channels,
        classes=("field", "lake", "roof"),
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        gsd=1.0,
        chip_size=16,
    )
    save_weights(build_specialist(spec), tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


@pytest.fixture
def make_config(toy_data, tmp_path):
    def make(*overrides, encoders=(), out="out"):
        return compose_evaluation(
            [
                f"encoders=[{','.join(map(str, encoders))}]",
                f"root={toy_data}",
                f"out={tmp_path / out}",
                f"registry={tmp_path / 'registry'}",
                "efficiency=none",
                "resamples=50",
                *overrides,
            ]
        )

    return make


def cells_of(folder):
    return {cell["id"]: cell for cell in json.loads(folder.results.read_text())["cells"]}


def test_scenes_against_their_floors(make_config, toy_configs, specialist):
    config = make_config("data_sets=[toy_scenes]", "seeds=[0,1]", encoders=[specialist])
    folder = evaluate(config, config_dir=toy_configs, command="the command")
    results = json.loads(folder.results.read_text())
    assert results["command"] == "the command"
    names = {"toy", "majority", "image-statistics", "random-convolution", "random-convnextv2_atto"}
    assert set(results["encoders"]) == names
    assert {cell["protocol"] for cell in results["cells"]} == {"knn", "linear"}
    assert len(results["cells"]) == 5 * 2 * 2
    for cell in results["cells"]:
        assert cell["status"] == "done"
        assert cell["command"].startswith("evaluate-encoder ")
        assert np.sum(cell["confusion"]) == cell["counts"]["test"]
    # Colours tell the classes apart.
    cells = cells_of(folder)
    assert cells["toy_scenes/linear/image-statistics/0"]["scores"]["accuracy"] == 1
    assert cells["toy_scenes/linear/majority/0"]["scores"]["accuracy"] < 0.7
    for row in results["summary"]:
        assert row["low"] <= row["value"] + 1e-9
        assert row["value"] <= row["high"] + 1e-9
        assert row["seeds"] == 2
    assert {(row["a"], row["b"]) for row in results["comparisons"]} == {
        ("toy", floor) for floor in names - {"toy"}
    }


def test_table_and_json_say_the_same(make_config, toy_configs):
    folder = evaluate(make_config("data_sets=[toy_scenes]"), config_dir=toy_configs)
    table = pd.read_parquet(folder.path / "results.parquet")
    written = pd.read_csv(folder.path / "results.csv")
    assert len(table) == len(written)
    cells = cells_of(folder)
    assert len(table) == sum(len(cell["scores"]) for cell in cells.values())
    for row in table.itertuples():
        cell = cells[f"{row.data}/{row.protocol}/{row.encoder}/{row.seed}"]
        assert cell["scores"][row.metric] == row.value
    assert table["command"].str.len().min() > 0
    assert table["data_digest"].nunique() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "protocol", "metric"),
    [
        ("toy_labels", "linear", "map"),
        ("toy_values", "linear", "rmse"),
        ("toy_masks", "pixel_linear", "miou"),
        ("toy_heights", "pixel_linear", "rmse"),
    ],
)
def test_every_task(make_config, toy_configs, data, protocol, metric):
    config = make_config(f"data_sets=[{data}]", f"protocols=[knn,{protocol}]", "seeds=[0]")
    cells = cells_of(evaluate(config, config_dir=toy_configs))
    scores = {
        encoder: cells[f"{data}/{protocol}/{encoder}/0"]["scores"][metric]
        for encoder in ("image-statistics", "majority")
    }
    better = (1 if metric != "rmse" else -1) * (scores["image-statistics"] - scores["majority"])
    assert better > 0
    assert math.isfinite(better)


def test_what_is_finished_is_not_done_again(make_config, toy_configs, monkeypatch):
    config = make_config("data_sets=[toy_scenes]", "seeds=[0]")
    first = cells_of(evaluate(config, config_dir=toy_configs))
    monkeypatch.setattr(filling, "evaluate_cell", None)
    again = cells_of(evaluate(config, config_dir=toy_configs))
    assert again == first


def test_a_seed_that_changes_nothing_is_not_computed(make_config, toy_configs):
    config = make_config("data_sets=[toy_scenes]", "protocols=[linear,linear_10]", "seeds=[0,7]")
    cells = cells_of(evaluate(config, config_dir=toy_configs))
    same = cells["toy_scenes/linear/image-statistics/7"]
    assert same["deterministic"]
    assert same["scores"] == cells["toy_scenes/linear/image-statistics/0"]["scores"]
    # Few labels are drawn, and random weights are, so these are computed for every seed.
    assert "deterministic" not in cells["toy_scenes/linear_10/image-statistics/7"]
    assert "deterministic" not in cells["toy_scenes/linear/random-convolution/7"]


def test_an_encoder_without_its_bands_has_empty_cells(make_config, toy_configs, tmp_path):
    spec = SpecialistSpec(
        task="scene-classification",
        bands=load_sensor("sentinel-1-grd").select("VV", "VH"),
        classes=("a", "b"),
        mean=(-10, -15),
        std=(5, 5),
        gsd=10.0,
        chip_size=16,
    )
    save_weights(build_specialist(spec), tmp_path / "radar.safetensors")
    encoders = [tmp_path / "radar.safetensors"]
    config = make_config("data_sets=[toy_scenes]", "seeds=[0]", encoders=encoders)
    folder = evaluate(config, config_dir=toy_configs)
    cell = cells_of(folder)["toy_scenes/knn/radar/0"]
    assert cell["status"] == "empty"
    assert "VV" in cell["reason"]
    table = pd.read_parquet(folder.path / "results.parquet")
    row = table[(table.encoder == "radar") & (table.protocol == "knn")]
    assert row.value.isna().all()
    assert "radar" not in {
        row["encoder"] for row in json.loads(folder.results.read_text())["summary"]
    }


def test_too_few_samples_for_the_neighbours(make_config, toy_configs):
    few = "{base: knn, name: knn_few, label_fraction: 0.1}"
    config = make_config("data_sets=[toy_scenes]", f"protocols=[{few}]", "seeds=[0]")
    cells = cells_of(evaluate(config, config_dir=toy_configs))
    cell = cells["toy_scenes/knn_few/image-statistics/0"]
    assert cell["status"] == "empty"
    assert "5" in cell["reason"]


def test_cells_of_data_that_changed_are_left_out(make_config, toy_configs, toy_data):
    evaluate(make_config("data_sets=[toy_scenes]", "seeds=[0]"), config_dir=toy_configs)
    fewer = "{base: toy_scenes, split: {seed: 5}}"
    config = make_config(f"data_sets=[{fewer}]", "protocols=[knn]", "seeds=[0]")
    cells = cells_of(evaluate(config, config_dir=toy_configs))
    assert {cell["protocol"] for cell in cells.values()} == {"knn"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoders=[no-such-specialist]", "no-such-specialist"),
        ("data_sets=[no_such_data]", "no_such_data"),
        ("protocols=[no_such_protocol]", "there is no protocol no_such_protocol; there are knn"),
        ("seeds=[]", "seeds is empty"),
        ("efficiency=toy_masks", "efficiency=toy_masks"),
        ("protocols=[{base: knn, probe: {k: 3}}]", "needs a name of its own"),
        ("protocols=[{base: knn, name: x, label_fraction: 2}]", "label_fraction 2"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_done(
    make_config, toy_configs, tmp_path, override, message
):
    with pytest.raises(InputError, match=message):
        evaluate(make_config("data_sets=[toy_scenes]", override), config_dir=toy_configs)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_of_a_cell_repeats_its_number(make_config, toy_configs, specialist, toy_data):
    protocol = "{base: linear, name: few, label_fraction: 0.5, probe: {pooling: last}}"
    encoder = f"{{source: '{specialist}', name: my toy}}"
    config = make_config(
        "data_sets=[toy_scenes]", f"protocols=[{protocol}]", "seeds=[3]", encoders=[encoder]
    )
    cell = cells_of(evaluate(config, config_dir=toy_configs))["toy_scenes/few/my toy/3"]
    out = specialist.parent / "again"
    finished = subprocess.run(
        f"{Path(sys.executable).parent}/{cell['command']} out={out} --config-dir {toy_configs}",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "evaluate-encoder report" in finished.stdout
    again = cells_of(ResultsFolder(out))
    assert list(again) == [cell["id"]]
    assert again[cell["id"]]["scores"] == cell["scores"]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(toy_configs, toy_data, tmp_path):
    command = [
        *COMMAND,
        "encoders=[]",
        "data_sets=[toy_scenes,toy_labels]",
        "seeds=[0,1,2]",
        "efficiency=none",
        "resamples=20",
        f"root={toy_data}",
        f"out={tmp_path / 'out'}",
        f"registry={tmp_path / 'registry'}",
        "--config-dir",
        str(toy_configs),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    cells = tmp_path / "out" / "cells"
    deadline = time.monotonic() + 120
    while len(list(cells.glob("*.json"))) < 4:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before
    assert (tmp_path / "out" / "results.json").exists()
