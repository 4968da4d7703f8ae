"""Tensor shapes: B batch, C channels, H rows, W columns."""

import sys

import pytest
import torch

from rasters import ChipDataset
from sensors import InputError
from specialists.compiled import load_compiled
from specialists.compiled_int8 import choose_calibration, quantize_specialist

pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def chips(toy_data):
    return ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")


@pytest.fixture(scope="module")
def specialist(get_specialist, chips):
    bands = len(chips.bands)
    return get_specialist(bands=tuple(chips.bands), mean=(0.4,) * bands, std=(0.3,) * bands)


@pytest.fixture(scope="module")
def quantized(specialist, chips):
    return quantize_specialist(specialist, chips, samples=12)


def test_int8_is_close_and_smaller(tmp_path, quantized, specialist, chips):
    x_BCHW = torch.stack([chips[row]["image"] for row in range(0, len(chips), 3)])

    found, expected = quantized(x_BCHW), specialist(x_BCHW)

    assert (found - expected).abs().max() > 1e-6  # it is not the float graph
    assert (found - expected).pow(2).mean().sqrt() < 0.1 * expected.std()
    constants = quantized.save(tmp_path)[1].stat().st_size
    weights = 4 * sum(weight.numel() for weight in specialist.parameters())
    assert constants < 0.35 * weights


def test_int8_survives_being_saved(tmp_path, quantized, chips):
    quantized.save(tmp_path)
    again = load_compiled(tmp_path)

    assert again.precision == "int8"
    x_BCHW = chips[0]["image"][None]
    assert torch.equal(again.predict(x_BCHW), quantized.predict(x_BCHW))


def test_labels_are_not_read(tmp_path, specialist, chips, quantized):
    class Unlabelled(ChipDataset):
        def __getitem__(self, index):
            chip = super().__getitem__(index)
            return {name: chip[name] for name in ("image", "valid")}

    unlabelled = chips.subset(range(len(chips)))
    unlabelled.__class__ = Unlabelled
    again = quantize_specialist(specialist, unlabelled, samples=12)

    x_BCHW = chips[5]["image"][None]
    assert torch.equal(again.predict(x_BCHW), quantized.predict(x_BCHW))


def test_calibration_is_spread_over_the_data(chips):
    assert choose_calibration(chips, 3).ids == tuple(chips.ids[row] for row in (0, 18, 35))
    assert choose_calibration(chips, 1000).ids == chips.ids


def test_bad_input(specialist, chips, get_specialist):
    with pytest.raises(InputError, match="samples=0"):
        quantize_specialist(specialist, chips, samples=0)
    with pytest.raises(InputError, match=r"the chips have the bands .*VV"):
        quantize_specialist(get_specialist(), chips)


def test_without_nncf_it_is_said_what_to_install(monkeypatch, specialist, chips):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"nncf.*pip install 'terraguild\[openvino\]'"):
        quantize_specialist(specialist, chips)
