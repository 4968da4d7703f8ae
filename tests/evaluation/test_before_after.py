"""What a network is worth and costs, as a row, a table and a picture."""

import json
import math

import pytest
import torch

from evaluation.before_after import (
    Row,
    draw_pareto,
    measure_row,
    pareto_front,
    predict_chips,
    tabulate,
    task_of,
)
from evaluation.intervals import Interval
from evaluation.scores import Scorer
from rasters import ChipDataset
from sensors import InputError, load_sensor
from specialists import SpecialistSpec, build_specialist, count_macs, count_parameters
from specialists.evaluate import evaluate

RGB = load_sensor("rgb-aerial").channels


def make_row(name, ms, score, metric="accuracy", low=None):
    low = score - 0.1 if low is None else low
    return Row(name, metric, Interval(score, low, score + 0.1, 9, "samples", 9), 1, 2, 3, {1: ms})


def make_specialist(task, classes, **settings):
    torch.manual_seed(0)
    spec = SpecialistSpec(
        task=task,
        bands=RGB,
        classes=classes,
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        gsd=1.0,
        chip_size=16,
        **settings,
    )
    return build_specialist(spec).eval()


def test_scores_are_those_of_other_roads(toy_data):
    scenes = ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")
    specialist = make_specialist("scene-classification", ("field", "lake", "roof"))
    row = measure_row("it", specialist, scenes, file_bytes=7, batch_sizes=(1, 2))
    expected = evaluate(specialist, scenes)["accuracy"]
    assert (row.name, row.metric, row.file_bytes) == ("it", "accuracy", 7)
    assert row.score.value == pytest.approx(expected)
    assert row.score.low <= row.score.value <= row.score.high
    assert row.parameters == count_parameters(specialist)
    assert row.macs == count_macs(specialist, 16)
    assert set(row.latency_ms) == {1, 2}
    assert all(ms > 0 for ms in row.latency_ms.values())


def test_pixels_are_summed_chip_by_chip_whatever_the_batch(toy_data):
    chips = ChipDataset.from_pairs(
        toy_data / "images", toy_data / "masks", classes=("dark", "bright"), sensor="rgb-aerial"
    )
    specialist = make_specialist("semantic-segmentation", ("dark", "bright"), decoder="linear")
    found = [predict_chips(specialist, chips, batch_size=size) for size in (1, 4)]
    assert found[0].ids == tuple(chips.ids)
    assert (found[0].confusion_NKK == found[1].confusion_NKK).all()
    scores = Scorer(found[0], ["miou"])([[1.0] * len(chips)])
    assert scores["miou"][0] == pytest.approx(evaluate(specialist, chips)["miou"])


def test_what_has_no_task_has_no_score():
    backbone = make_specialist("similarity-search", ())
    with pytest.raises(InputError, match="no answer that could be scored"):
        task_of(backbone.spec)


def test_rows_survive_json_with_what_is_not_known():
    row = make_row("one", 2.0, 0.5, low=math.nan)
    text = json.dumps(row.to_dict()).replace("NaN", "null")
    again = Row.from_dict(json.loads(text))
    assert math.isnan(again.score.low)
    assert again.latency_ms == {1: 2.0}
    assert (again.name, again.score.value) == ("one", 0.5)


def test_the_front_leaves_out_what_another_one_beats(tmp_path):
    rows = [
        make_row("slow and best", 9.0, 0.9),
        make_row("beaten", 8.0, 0.6),
        make_row("quick", 2.0, 0.7),
        make_row("as quick, worse", 2.0, 0.5),
    ]
    assert [row.name for row in pareto_front(rows)] == ["quick", "slow and best"]
    errors = [make_row(row.name, row.latency_ms[1], row.score.value, "rmse") for row in rows]
    assert [row.name for row in pareto_front(errors)] == ["as quick, worse"]
    draw_pareto(rows, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 5000
    assert tabulate("rows", rows).row_count == 4
