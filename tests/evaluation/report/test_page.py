import base64
import copy
import hashlib
import re

import pytest

from evaluation.report import write_report
from sensors import InputError


@pytest.fixture(scope="session")
def few_results(raw_results):
    """Two data sets of all."""
    names = ("eurosat_ms", "sen1floods11")
    few = {**raw_results, "data": {name: raw_results["data"][name] for name in names}}
    for section in ("cells", "summary", "comparisons", "gate_usage", "examples"):
        few[section] = [row for row in raw_results[section] if row["data"] in names]
    return few


@pytest.fixture
def render(write_results, tmp_path):
    def run(raw):
        return write_report(write_results(raw), tmp_path / "report.html").read_text()

    return run


def test_a_large_evaluation_stays_below_two_megabytes(render, raw_results):
    page = render(raw_results)
    assert 500_000 < len(page.encode()) < 2_000_000


def test_holds_everything_itself(render, few_results):
    page = render(few_results)
    assert re.findall(r'(?:src|href)="(?!#|data:image/png)[^"]*"', page) == []
    assert not re.search(r"@import|url\(", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_names_are_text(render, few_results):
    page = render(few_results)
    name = next(name for name in few_results["encoders"] if "</script>" in name)
    assert name not in page
    assert "Ünïcode &lt;b&gt;&amp;amp;&lt;/b&gt;" in page


@pytest.mark.parametrize(
    "name", ["comparisons", "aggregate", "gate_usage", "examples", "summary", "cells"]
)
def test_sections_without_content_are_left_out(render, few_results, name):
    page = render(few_results | {name: []})
    assert "<h2>Summary</h2>" in page
    section = {"comparisons": "comparisons", "gate_usage": "gate", "examples": "maps"}.get(name)
    assert section is None or f'id="{section}"' not in page


def test_one_encoder_with_one_number(render, few_results):
    raw = copy.deepcopy(few_results)
    row = next(row for row in raw["summary"] if row["encoder"] == "dofa-nano" and row["is_main"])
    for name in ("comparisons", "aggregate", "gate_usage", "examples"):
        raw[name] = []
    raw["cells"] = [
        cell
        for cell in raw["cells"]
        if all(cell[key] == row[key] for key in ("encoder", "data", "protocol"))
    ]
    raw["encoders"] = {"dofa-nano": raw["encoders"]["dofa-nano"]}
    raw["data"] = {row["data"]: raw["data"][row["data"]]}
    raw["summary"] = [row | {"low": None, "high": float("nan")}]
    page = render(raw)
    assert f"{row['value']:.3f}" in page
    assert ">nan" not in page.lower()


def test_a_protocol_whose_base_was_not_evaluated_is_shown_alone(render, few_results):
    varied = ("linear_10", "linear_without_swir")
    raw = few_results | {
        "protocols": {name: few_results["protocols"][name] for name in varied},
        "data": {"eurosat_ms": few_results["data"]["eurosat_ms"]},
    }
    for section in ("cells", "summary", "comparisons", "aggregate"):
        raw[section] = [row for row in few_results[section] if row["protocol"] in varied]
    for section in ("cells", "summary", "comparisons", "gate_usage", "examples"):
        raw[section] = [row for row in raw[section] if row["data"] == "eurosat_ms"]
    page = render(raw)
    assert "linear (ring) and Linear probe, no shortwave infrared (dot)" in page
    assert 'id="labels"' not in page


def test_equal_titles_are_told_apart_by_name(render, few_results):
    data = {name: facts | {"title": "Same"} for name, facts in few_results["data"].items()}
    page = render(few_results | {"data": data})
    assert "<h3>Same (eurosat_ms)</h3>" in page
    assert "<h3>Same (sen1floods11)</h3>" in page


def test_numbers_that_are_not_finite_are_no_scores(render, few_results):
    raw = copy.deepcopy(few_results)
    for row in raw["summary"]:
        if row["encoder"] == "dofa-nano":
            row["value"] = float("nan")
    assert ">nan" not in render(raw).lower()


def test_empty_cells_have_a_reason_and_no_number(render, few_results):
    page = render(few_results)
    rows = re.findall(r"<tr><th scope=row>s1-flood@<wbr>0.3.1<td(.*?)\n", page)
    empty = [row for row in rows if "colspan" in row]
    assert len(empty) > 10
    assert all("no number: MissingBandsError: needs VV" in row for row in empty)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "format None"),
        ('{"format": 9}', "format 9, this version reads 1"),
        ('{"format": 1}', "lacks created, command"),
    ],
)
def test_results_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        write_report(path, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_results_that_are_missing(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        write_report(tmp_path / "results.json", tmp_path / "report.html")


def test_pictures_from_elsewhere_are_refused(write_results, few_results, tmp_path):
    raw = copy.deepcopy(few_results)
    raw["examples"][1]["label"] = "https://example.org/pixel.png"
    with pytest.raises(InputError, match=r"label of example 'chip_0.*not an inline PNG"):
        write_report(write_results(raw), tmp_path / "report.html")
