import copy

import pytest

from evaluation.report._findings import findings, winners
from evaluation.report._results import Results
from evaluation.report._words import MINUS


@pytest.fixture
def small():
    """Two encoders and a floor on two data sets; the second is scored by an error."""

    def score(encoder, data, value):
        is_error = data == "heights"
        return {
            "encoder": encoder,
            "data": data,
            "protocol": "linear",
            "metric": "rmse" if is_error else "accuracy",
            "direction": "min" if is_error else "max",
            "is_main": True,
            "value": value,
            "low": value - 0.02,
            "high": value + 0.02,
            "seeds": 3,
            "unit": "samples",
        }

    def facts(task):
        return {"title": "", "task": task, "multi_label": False, "classes": ["a", "b"]}

    values = {"cover": (0.9, 0.8, 0.7), "heights": (2.0, 3.0, 4.0)}
    return {
        "data": {"cover": facts("scene-classification"), "heights": facts("regression")},
        "encoders": {
            name: {"kind": "specialist", "is_floor": name == "floor"}
            for name in ("best", "second", "floor")
        },
        "protocols": {"linear": {"title": "Linear", "probe": "linear", "description": ""}},
        "cells": [],
        "summary": [
            score(encoder, data, value)
            for data, row in values.items()
            for encoder, value in zip(("best", "second", "floor"), row, strict=True)
        ],
        "comparisons": [],
        "aggregate": [],
    }


def read(raw):
    results = Results(raw)
    table = winners(results)
    return {row.data: row for row in table}, " ".join(findings(results, table))


def change(raw, encoder, data, **values):
    raw = copy.deepcopy(raw)
    for row in raw["summary"]:
        if (row["encoder"], row["data"]) == (encoder, data):
            row.update(values)
    return raw


def pair(raw, a, b, data, value, low, high):
    metric = "rmse" if data == "heights" else "accuracy"
    row = {"data": data, "protocol": "linear", "metric": metric, "a": a, "b": b}
    row |= {"value": value, "low": low, "high": high, "p_value": 0.2}
    return raw | {"comparisons": [*raw["comparisons"], row]}


def test_gain_is_positive_where_the_encoder_is_better_whatever_the_direction(small):
    table, words = read(small)
    assert (table["cover"].best, table["cover"].gain) == ("best", "+0.200")
    assert (table["heights"].best, table["heights"].gain) == ("best", "+2.00")
    assert "clearly ahead of every floor" in words
    assert "In none of 2 pairs" in words


def test_a_winning_floor_is_said_plainly(small):
    raw = change(small, "floor", "heights", value=1.5, low=1.4, high=1.6)
    table, words = read(raw)
    assert table["heights"].verdict == "floor"
    assert table["heights"].gain == f"{MINUS}0.500"
    assert "A floor wins on heights: floor has RMSE 1.50 [1.40 to 1.60]" in words
    assert "A floor is best in 1 of 2 pairs" in words
    assert "best (on 1 of 2)" in words
    assert "clearly ahead of every floor" not in words


def test_the_paired_difference_decides_what_is_clear(small):
    raw = pair(small, "best", "floor", "cover", 0.2, -0.01, 0.4)
    table, words = read(raw)
    assert table["cover"].verdict == "unclear"
    assert "Not clearly ahead of the best floor" in words
    raw = pair(small, "floor", "best", "heights", 2.0, 1.9, 2.1)
    assert read(raw)[0]["heights"].gain_ends == "1.90 to 2.10"


def test_overlapping_intervals_are_not_clear_without_a_paired_difference(small):
    raw = change(small, "floor", "cover", value=0.89, low=0.85, high=0.93)
    assert read(raw)[0]["cover"].verdict == "unclear"


def test_an_equal_floor_does_not_win_and_is_not_beaten(small):
    table, words = read(change(small, "floor", "cover", value=0.9, low=0.88, high=0.92))
    assert table["cover"].verdict == "unclear"
    assert "A floor wins" not in words
    assert "clearly ahead of every floor" not in words


def test_a_data_set_with_floors_alone_is_one_that_a_floor_wins(small):
    rows = [r for r in small["summary"] if r["data"] != "cover" or r["encoder"] == "floor"]
    table, words = read(small | {"summary": rows})
    assert table["cover"].best == ""
    assert "A floor wins on cover" in words
    assert "no encoder has a number" in words


def test_nothing_measured_is_nothing_won(small):
    table, words = read(small | {"summary": []})
    assert table == {}
    assert "ahead" not in words
    assert "best" not in words


def test_the_strongest_plain_protocol_speaks_for_a_data_set(raw_results):
    results = Results(raw_results)
    assert results.headlines["eurosat_ms"] == "linear"
    assert results.headlines["sen1floods11"] == "pixel_decoder"
