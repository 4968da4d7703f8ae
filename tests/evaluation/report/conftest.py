"""Results as a large evaluation writes them, made up: 12 encoders, 8 data sets, 12 protocols."""

import base64
import hashlib
import json
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

SEEDS = (0, 1, 2)
UGLY = (
    "Ünïcode <b>&amp;</b> \"quoted\" 'name' </script> averylongnamewithoutanyplacetobreakit_v1.0.0"
)

# name: kind, skill 0..1, parameters, multiply-adds of one 64-pixel image
ENCODERS = {
    "guild-top2": ("ensemble", 0.95, 16_900_000, 1.4e9),
    "s2-landcover@1.0.0": ("specialist", 0.86, 3_390_000, 4.5e7),
    "s1-flood@0.3.1": ("specialist", 0.62, 3_388_000, 4.1e7),
    "landsat7-cloud@2.1.0": ("specialist", 0.55, 3_391_000, 4.6e7),
    "dofa-nano": ("trunk", 0.7, 1_900_000, 5.2e7),
    "timm:convnextv2_atto.fcmae_ft_in1k": ("timm", 0.78, 3_387_000, 4.4e7),
    "torchgeo:resnet50_sentinel2_all_moco": ("torchgeo", 0.88, 23_500_000, 3.3e8),
    UGLY: ("specialist", 0.5, 3_400_000, 4.4e7),
    "majority": ("majority", -0.2, 0, 0),
    "image-statistics": ("image-statistics", 0.45, 0, 0),
    "random-convolution": ("random-convolution", 0.52, 9_472, 3.1e7),
    "random:convnextv2_atto": ("random", 0.4, 3_387_000, 4.4e7),
}
FLOORS = ("majority", "image-statistics", "random-convolution", "random:convnextv2_atto")

CORINE = [f"Land principally occupied by agriculture, type {n}" for n in range(1, 20)]
# name: title, task, multi-label, classes, sensor, test samples, difficulty 0..1
DATA = {
    "eurosat_ms": ("EuroSAT, 13 bands", "scene", False, 10, "sentinel-2-l1c", 5400, 0.1),
    "eurosat_rgb": ("EuroSAT, red green blue", "scene", False, 10, "sentinel-2-l1c", 5400, 0.2),
    "nwpu_resisc45": ("NWPU-RESISC45", "scene", False, 45, "rgb-aerial", 6300, 0.4),
    "bigearthnet_s2": (
        "BigEarthNet S2 (25 chips)",
        "scene",
        True,
        CORINE,
        "sentinel-2-l2a",
        9,
        0.6,
    ),
    "canopy": ("Canopy height", "regression", False, ["height (m)"], "landsat-8-oli", 800, 0.5),
    "simulated": ("Simulated scenes & clouds", "scene", False, 4, "sentinel-2-l2a", 640, 0.02),
    "sen1floods11": ("Sen1Floods11", "pixels", False, ["dry", "water"], "sentinel-1-grd", 90, 0.3),
    "hls_worldcover": ("HLS with WorldCover", "pixels", False, 9, "hls-s30", 120, 0.5),
}
TASKS = {"scene": "scene-classification", "pixels": "semantic-segmentation"}
LAND = [
    *("Annual crop", "Forest", "Herbaceous vegetation", "Highway", "Industrial", "Pasture"),
    *("Permanent crop", "Residential", "River", "Sea & lake"),
]

# name: title, probe, base, label fraction, loss of quality
PROTOCOLS = {
    "knn": ("5 nearest neighbours", "knn", None, 1.0, 0.12),
    "linear": ("Linear probe", "linear", None, 1.0, 0.0),
    "linear_10": ("Linear probe, 10 % of labels", "linear", "linear", 0.1, 0.15),
    "linear_1": ("Linear probe, 1 % of labels", "linear", "linear", 0.01, 0.35),
    "linear_without_swir": ("Linear probe, no shortwave infrared", "linear", "linear", 1.0, 0.2),
    "linear_as_landsat8": ("Linear probe, as Landsat 8", "linear", "linear", 1.0, 0.1),
    "pixel_linear": ("Linear pixel probe", "pixel-linear", None, 1.0, 0.1),
    "pixel_decoder": ("Decoder", "pixel-decoder", None, 1.0, 0.0),
    "pixel_decoder_10": ("Decoder, 10 % of labels", "pixel-decoder", "pixel_decoder", 0.1, 0.2),
    "pixel_decoder_1": ("Decoder, 1 % of labels", "pixel-decoder", "pixel_decoder", 0.01, 0.4),
    "pixel_without_swir": ("Decoder, no SWIR", "pixel-decoder", "pixel_decoder", 1.0, 0.2),
    "pixel_as_landsat8": ("Decoder, as Landsat 8", "pixel-decoder", "pixel_decoder", 1.0, 0.1),
}
METRICS = {
    "scene": ("accuracy", "macro_accuracy", "macro_f1", "ece"),
    "multi": ("map", "micro_map", "macro_f1", "micro_f1", "ece"),
    "pixels": ("miou", "micro_iou", "accuracy", "macro_f1", "ece"),
    "regression": ("rmse", "mae", "r2"),
}


def sha(*words):
    return hashlib.sha256(repr(words).encode()).hexdigest()


def noise(*words):
    """Between -1 and 1, always the same for the same words."""
    return int(sha(*words)[:8], 16) / 0x7FFFFFFF - 1


def metrics_of(data):
    _, task, multi, *_ = DATA[data]
    return METRICS["multi" if multi else task]


def direction(metric):
    return "min" if metric in ("ece", "rmse", "mae") else "max"


def classes_of(data):
    classes = DATA[data][3]
    if isinstance(classes, list):
        return classes
    return [LAND[n % 10] + (f" {n // 10}" if n >= 10 else "") for n in range(classes)]


def is_empty(encoder, data, protocol):
    """SAR specialists on optical data, and some by chance."""
    optical = "sentinel-1" not in DATA[data][4]
    return (encoder == "s1-flood@0.3.1" and optical) or noise(encoder, data, protocol, "!") > 0.96


def quality(encoder, data, protocol, metric):
    """A score; on the simulated scenes the image statistics are ahead of everything."""
    _, _, _, _, _, count, difficulty = DATA[data]
    skill = ENCODERS[encoder][1]
    if data == "simulated" and encoder == "image-statistics":
        skill = 1.1
    value = 0.97 - difficulty * (1.1 - skill) - PROTOCOLS[protocol][4] * (1.2 - skill)
    value += 0.02 * noise(encoder, data, protocol)
    if encoder == "majority":
        value = 1 / len(classes_of(data)) if len(classes_of(data)) > 1 else 0.3
    value = min(max(value, 0.02), 0.995)
    half = 1.3 / math.sqrt(count) * (0.5 + value * (1 - value) * 2)
    if metric == "ece":
        return 0.01 + 0.15 * (1 - value), half / 5
    if metric == "r2":
        return value - 0.3, half
    if metric in ("rmse", "mae"):
        return (9.0 if metric == "rmse" else 6.5) * (1.2 - value), 4 * half
    return max(value - 0.03 * ("f1" in metric), 0.0), half


def picture(number, size=64, colors=6):
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, colors, (8, 8))
    classes = np.kron(coarse, np.ones((size // 8, size // 8), int))
    table = rng.integers(0, 255, (colors, 3))
    file = BytesIO()
    Image.fromarray(table[classes].astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def efficiency(encoder, data):
    _, _, parameters, macs = ENCODERS[encoder]
    if encoder == "majority":
        return None
    latency = 0.4 + macs / 3e7
    return {
        "parameters": parameters,
        "macs": int(macs),
        "images_per_second": 5000 / latency,
        "latency_ms": latency,
        "batch_size": 64,
        "threads": 2,
        "device": "cpu",
        "peak_memory_mb": 310 + parameters / 4e4,
        "energy_wh_per_1000_images": latency * 0.004 if "moco" not in encoder else None,
        "training_images_per_second": 1600 / latency if parameters else None,
        "training_energy_wh_per_1000_images": latency * 0.013 if parameters else None,
        "energy_method": "codecarbon 3.3: processor estimated from its load and 85 W at full load",
        "machine": {"cpu": "two cores of a server"},
        "notes": {"energy_wh_per_1000_images": "codecarbon gave no reading"},
    }


def make_cells():
    cells = []
    for data, (_, task, _, _, _, tests, _) in DATA.items():
        classes = classes_of(data)
        for protocol, (_, probe, _, fraction, _) in PROTOCOLS.items():
            if probe.startswith("pixel") != (task == "pixels"):
                continue
            for encoder in ENCODERS:
                for seed in SEEDS:
                    empty = is_empty(encoder, data, protocol)
                    value = quality(encoder, data, protocol, metrics_of(data)[0])[0]
                    command = (
                        f"evaluate-encoder encoders=['{encoder}'] data_sets=[{data}] "
                        f"protocols=[{protocol}] seeds=[{seed}] root=/data out=results"
                    )
                    confusion, per_class = None, {}
                    if not empty and task != "regression" and not DATA[data][2]:
                        confusion = make_confusion(len(classes), tests, value, seed)
                    if not empty and task != "regression":
                        name = "iou" if task == "pixels" else "f1"
                        per_class = {
                            name: {
                                c: None if n == 3 else min(max(value + noise(c) / 10, 0), 1)
                                for n, c in enumerate(classes)
                            },
                            "support": dict.fromkeys(classes, tests // len(classes)),
                        }
                    outcome = {
                        "scores": {metrics_of(data)[0]: value},
                        "per_class": per_class,
                        "confusion": confusion,
                        "hyperparameters": {"C": 0.1},
                        "counts": {"train": max(int(tests * 3 * fraction), 2), "test": tests},
                        "seconds": 12.5,
                    }
                    cells.append(
                        {
                            "id": sha(encoder, data, protocol, seed)[:16],
                            "encoder": encoder,
                            "data": data,
                            "protocol": protocol,
                            "seed": seed,
                            "status": "empty" if empty else "done",
                            "reason": "MissingBandsError: needs VV (radar, 5.405 GHz); none of the "
                            "data's bands measures it"
                            if empty
                            else None,
                            "command": command,
                            **({} if empty else outcome),
                        }
                    )
    return cells


def make_confusion(size, tests, accuracy, seed):
    rng = np.random.default_rng(seed)
    share = np.eye(size) * accuracy + rng.dirichlet(np.ones(size) / 3, size) * (1 - accuracy)
    return np.round(share * tests / size).astype(int).tolist()


def make_summary(cells):
    done = dict.fromkeys(
        (c["encoder"], c["data"], c["protocol"]) for c in cells if c["status"] == "done"
    )
    rows = []
    for encoder, data, protocol in done:
        for number, metric in enumerate(metrics_of(data)):
            value, half = quality(encoder, data, protocol, metric)
            rows.append(
                {
                    "encoder": encoder,
                    "data": data,
                    "protocol": protocol,
                    "metric": metric,
                    "direction": direction(metric),
                    "is_main": number == 0,
                    "value": value,
                    "low": max(value - half, 0) if metric != "r2" else value - half,
                    "high": value + half if metric in ("rmse", "mae") else min(value + half, 1),
                    "seeds": len(SEEDS),
                    "unit": "groups" if data == "sen1floods11" else "samples",
                }
            )
    return rows


def make_comparisons(summary):
    rows = []
    main = [row for row in summary if row["is_main"]]
    for place in dict.fromkeys((r["data"], r["protocol"]) for r in main):
        here = [r for r in main if (r["data"], r["protocol"]) == place]
        for index, a in enumerate(here):
            for b in here[index + 1 :]:
                value = a["value"] - b["value"]
                half = (a["high"] - a["low"]) / 2.5
                rows.append(
                    {
                        "data": place[0],
                        "protocol": place[1],
                        "metric": a["metric"],
                        "a": a["encoder"],
                        "b": b["encoder"],
                        "value": value,
                        "low": value - half,
                        "high": value + half,
                        "p_value": math.erfc(abs(value) / max(half, 1e-9) * 1.96 / math.sqrt(2)),
                    }
                )
    return rows


def make_aggregate(summary):
    rows = []
    for protocol in PROTOCOLS:
        main = [r for r in summary if r["is_main"] and r["protocol"] == protocol]
        data = list(dict.fromkeys(r["data"] for r in main))
        for encoder in dict.fromkeys(r["encoder"] for r in main):
            own = [r for r in main if r["encoder"] == encoder]
            means, ranks = [], []
            for row in own:
                sign = 1 if row["direction"] == "max" else -1
                values = [sign * r["value"] for r in main if r["data"] == row["data"]]
                mine = sign * row["value"]
                means.append((mine - min(values)) / (max(values) - min(values)))
                ranks.append(1 + sum(v > mine for v in values))
            rows.append(
                {
                    "protocol": protocol,
                    "encoder": encoder,
                    "normalised_mean": sum(means) / len(means),
                    "average_rank": sum(ranks) / len(ranks),
                    "distance_to_best": 100 * (1 - sum(means) / len(means)) / 3,
                    "data_sets": len(own),
                    "of": len(data),
                }
            )
    return rows


def make_examples():
    colors = [
        "#1e55aa",
        "#1e732d",
        "#ebc850",
        "#cd463c",
        "#be966e",
        "#aae16e",
        "#d7d7dc",
        "#5f5f64",
    ]
    rows = []
    for data, protocol in (("sen1floods11", "pixel_decoder"), ("hls_worldcover", "pixel_decoder")):
        for chip in range(2):
            for number, encoder in enumerate(ENCODERS):
                if not is_empty(encoder, data, protocol) and number % 3 == 0:
                    rows.append(
                        {
                            "data": data,
                            "protocol": protocol,
                            "encoder": encoder,
                            "id": f"chip_{chip}_with_a_rather_long_identifier_2020-06-0{chip + 1}",
                            "shows": "true colour",
                            "image": picture(chip, colors=40),
                            "label": picture(chip + 50),
                            "prediction": picture(chip + 100 + number),
                            "classes": list(zip(classes_of(data), colors * 2, strict=False)),
                        }
                    )
    return rows


def make_results():
    cells = make_cells()
    summary = make_summary(cells)
    return {
        "format": 1,
        "created": "2026-11-21T23:30:00+00:00",
        "command": "evaluate-encoder encoders=[...] data_sets=[...] root=/data out=results",
        "machine": {"processor": "two cores of a server", "memory": "16 GB", "device": "cpu"},
        "versions": {"python": "3.11.7", "terraguild": "0.1.0", "torch": "2.6.0", "timm": "1.0.19"},
        "data": {
            name: {
                "title": title,
                "licence": "CC-BY-4.0",
                "source": f"https://example.org/{name}",
                "task": TASKS.get(task, task),
                "multi_label": multi,
                "classes": classes_of(name),
                "counts": {"train": tests * 3, "selection": tests, "test": tests},
                "sensor": None if name == "simulated" else sensor,
                "bands": ["B02", "B03", "B04", "B08", "B11", "B12"],
                "gsd": 10.0,
                "digest": sha(name),
                "split": "by place",
            }
            for name, (title, task, multi, _, sensor, tests, _) in DATA.items()
        },
        "encoders": {
            name: {
                "kind": kind,
                "description": f"A {kind} of skill {skill}",
                "digest": sha(name),
                "is_floor": name in FLOORS,
                "parameters": parameters,
                "efficiency": {data: efficiency(name, data) for data in DATA},
            }
            for name, (kind, skill, parameters, _) in ENCODERS.items()
        },
        "protocols": {
            name: {
                "title": title,
                "probe": probe,
                "description": f"{title}: what is fitted on frozen features.",
                "base": base,
                "label_fraction": fraction,
            }
            for name, (title, probe, base, fraction, _) in PROTOCOLS.items()
        },
        "cells": cells,
        "summary": summary,
        "comparisons": make_comparisons(summary),
        "aggregate": make_aggregate(summary),
        "gate_usage": [
            {
                "encoder": "guild-top2",
                "data": data,
                "weights": {
                    "s2-landcover@1.0.0": 0.6 + 0.2 * noise(data),
                    "s1-flood@0.3.1": 0.0,
                    "landsat7-cloud@2.1.0": 0.4 - 0.2 * noise(data),
                },
            }
            for data in DATA
        ],
        "examples": make_examples(),
    }


@pytest.fixture(scope="session")
def raw_results():
    """Everything; not to be changed by a test."""
    return make_results()


@pytest.fixture
def write_results(tmp_path):
    """Write results into a file."""

    def write(raw):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(raw))
        return path

    return write
