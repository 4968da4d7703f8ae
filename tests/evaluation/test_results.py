"""What is made of finished cells."""

import base64
import json

import pytest

from evaluation.config import compose_evaluation
from evaluation.folder import ResultsFolder
from evaluation.report.page import write_report
from evaluation.results import write_results
from evaluation.run import evaluate
from sensors import InputError


@pytest.fixture(scope="module")
def folder(toy_data, toy_configs, tmp_path_factory):
    """An evaluation of pixels, with an encoder that is no floor."""
    out = tmp_path_factory.mktemp("results")
    config = compose_evaluation(
        [
            "encoders=[timm:resnet10t]",
            "data_sets=[toy_masks]",
            "protocols=[{base: pixel_linear, name: quick, probe: {epochs: 2, min_steps: 10}}]",
            "seeds=[0]",
            f"root={toy_data}",
            f"out={out / 'out'}",
            f"registry={out / 'registry'}",
            "resamples=20",
            "examples=1",
            "efficiency=none",
        ]
    )
    return evaluate(config, config_dir=toy_configs)


def read(folder):
    return json.loads(folder.results.read_text())


def test_examples_are_of_the_best_encoder_that_is_no_floor(folder):
    (example,) = read(folder)["examples"]
    assert example["encoder"] == "timm-resnet10t-random"
    assert [name for name, _ in example["classes"]] == ["dark", "bright"]
    for picture in ("image", "label", "prediction"):
        kind, content = example[picture].split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_gates_are_told_of(folder, tmp_path):
    names = ("toy_masks", "quick", "timm-resnet10t-random", "seed0")
    record = folder.read("cells", *names)
    folder.write("cells", *names, content={**record, "gate": {"optical": 0.75, "radar": 0.25}})
    (usage,) = write_results(folder, resamples=20)["gate_usage"]
    assert usage["weights"] == {"optical": 0.75, "radar": 0.25}
    page = write_report(folder.results, tmp_path / "report.html").read_text()
    assert "radar" in page


def test_report_holds_the_maps(folder, tmp_path):
    page = write_report(folder.results, tmp_path / "report.html").read_text()
    assert read(folder)["examples"][0]["prediction"] in page


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no result"):
        write_results(ResultsFolder(tmp_path))
