"""Cost of encoders: counts by hand, times and memory by their order, gaps with a reason."""

import json
import os
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch

from evaluation._memory import measure_memory
from evaluation._workload import Workload
from evaluation.efficiency import measure_efficiency
from evaluation.encoders import DataContext, EncoderConfig
from sensors import Band, InputError, MissingBandsError
from specialists import (
    SpecialistSpec,
    build_specialist,
    count_macs,
    count_parameters,
    save_weights,
)

BANDS = (Band("red", 0.665, 0.03), Band("nir", 0.842, 0.11))
CONTEXT = DataContext(BANDS, (0.2, 0.3), (0.1, 0.1), gsd=10.0, chip_size=32)


def measure(source, context=CONTEXT, batch_size=2, energy_seconds=0, memory=False):
    return measure_efficiency(
        EncoderConfig(source),
        context,
        batch_size=batch_size,
        threads=1,
        energy_seconds=energy_seconds,
        memory=memory,
    )


@pytest.fixture
def write_specialist(tmp_path):
    """A specialist with its weight file."""

    def write(bands):
        spec = SpecialistSpec(
            architecture="convnextv2_atto",
            task="scene-classification",
            bands=bands,
            classes=("a", "b", "c"),
            mean=(0.2,) * len(bands),
            std=(0.1,) * len(bands),
            gsd=10.0,
            chip_size=32,
            head="pool",
        )
        specialist = build_specialist(spec)
        save_weights(specialist, tmp_path / "weights.safetensors")
        return specialist, str(tmp_path / "weights.safetensors")

    return write


@pytest.mark.slow
def test_everything_is_measured():
    measured = measure("random:convnextv2_atto", batch_size=4, energy_seconds=0.3, memory=True)
    assert measured.notes == {}
    assert measured.input_shape == (2, 32, 32)
    assert measured.parameters > 3e6
    assert None not in asdict(measured).values()
    assert measured.images_per_second > measured.training_images_per_second > 0
    training = measured.training_energy_wh_per_1000_images
    assert training > measured.energy_wh_per_1000_images > 0
    # At least the weights, in float32.
    assert measured.peak_memory_mb > 4 * measured.parameters / 1e6
    assert "codecarbon" in measured.energy_method
    assert measured.machine["threads"] == measured.threads == 1
    assert json.loads(json.dumps(asdict(measured)))["notes"] == {}


def test_specialists_cost_what_their_backbone_costs(write_specialist):
    specialist, path = write_specialist(BANDS)
    measured = measure(path)
    head = sum(weight.numel() for weight in specialist.head.parameters())
    assert measured.macs == count_macs(specialist) - 320 * 3
    assert measured.parameters == count_parameters(specialist) - head


def test_what_has_no_parameters_is_not_trained_and_says_so():
    measured = measure("random-convolution")
    assert measured.parameters == 0
    assert measured.macs == 16 * 16 * (3 * 3 * len(BANDS)) * 128  # at every second pixel
    assert measured.training_images_per_second is None
    assert measured.notes["training_images_per_second"] == "it has no parameters"
    assert measured.notes["energy_method"] == "not asked for"
    assert measured.notes["peak_memory_mb"] == "not asked for"
    gaps = {name for name, value in asdict(measured).items() if value is None}
    assert gaps == measured.notes.keys()


def test_own_image_vectors_are_what_is_run():
    assert measure("image-statistics").latency_ms > measure("majority").latency_ms


def test_attention_is_counted():
    measured = measure("timm:vit_tiny_patch16_224")
    tokens, width, depth = 2 * 2 + 1, 192, 12
    block = tokens * 12 * width**2 + 2 * tokens**2 * width
    assert measured.macs == 4 * 16 * 16 * 2 * width + depth * block


def test_threads_are_set_for_the_measurement_alone():
    before = torch.get_num_threads()
    measure("majority")
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_memory_is_that_of_the_encoder_and_not_of_the_caller():
    ballast = torch.zeros(1_000_000_000, dtype=torch.uint8)
    build = partial(
        Workload.build,
        EncoderConfig("random:convnextv2_atto"),
        replace(CONTEXT, chip_size=64),
        batch_size=256,
        device="cpu",
        seed=0,
        registry=None,
    )
    held = measure_memory(build, threads=1)
    weights_mb, pixels_mb = 4 * 3.4, 256 * 2 * 64 * 64 * 4 / 1e6
    assert weights_mb + pixels_mb < held.peak_mb < ballast.numel() / 1e6 / 2
    assert held.baseline_mb > 100  # torch alone


@pytest.mark.slow
def test_process_that_dies_is_a_gap_with_a_reason():
    with pytest.raises(RuntimeError, match="process died"):
        measure_memory(partial(os._exit, 1), threads=1)


def test_missing_bands_are_there_but_invalid(write_specialist):
    _, path = write_specialist((*BANDS, Band("green", 0.56, 0.035)))
    assert measure(path).input_shape == (3, 32, 32)
    thermal = replace(CONTEXT, bands=(Band("thermal", 10.9, 0.6),), mean=(290.0,), std=(5.0,))
    with pytest.raises(MissingBandsError):
        measure(path, thermal)


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"threads": 0}, {"energy_seconds": -1}])
def test_senseless_numbers_are_refused(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        measure_efficiency(EncoderConfig("majority"), CONTEXT, **setting)
