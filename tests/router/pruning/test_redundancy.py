"""Redundancy in numbers."""

import numpy as np
import pytest
import torch

from router.pruning.parts import Parts
from router.pruning.picture import draw_redundancy, tabulate_redundancy
from router.pruning.recording import record
from router.pruning.redundancy import _cka, measure_redundancy
from router.pruning.scoring import Refit
from router.pruning.search import Search
from specialists import SpecialistSpec, build_specialist
from tests.router.composing.conftest import BANDS, RED
from tests.router.pruning.test_parts import chips, make_network

__all__ = ["chips"]


def gram(features):
    rows = torch.as_tensor(features).double()
    rows = rows - rows.mean(0)
    return (rows @ rows.T).fill_diagonal_(0)


def test_alignment_is_1_for_rotations_and_0_for_chance():
    draw = np.random.default_rng(0)
    first = draw.normal(size=(60, 200))
    rotation, _ = np.linalg.qr(draw.normal(size=(200, 200)))
    assert _cka(gram(first), gram(3 * first @ rotation)) == pytest.approx(1)
    # Without the correction it would be above 0.7 here, with more features than places.
    chance = [_cka(gram(first), gram(draw.normal(size=(60, 200)))) for _ in range(20)]
    assert abs(np.mean(chance)) < 0.03


def test_members_of_other_reductions_are_compared(registry, chips, tmp_path):
    spec = SpecialistSpec(
        task="scene-classification",
        bands=(RED,),
        classes=("a", "b"),
        mean=(0.2,),
        std=(0.1,),
        gsd=10.0,
        chip_size=16,
        stem_stride=2,
    )
    registry.add(build_specialist(spec), name="fine", version="1.0.0")
    network = make_network(registry, members=("fine", "visible", "radar"), gate="uniform")
    assert len(BANDS) == 4
    recording = record(network, chips, tmp_path / "all")
    search = Search(Parts(network, recording), recording, recording, Refit(), tmp_path / "steps")
    found = measure_redundancy(search)
    assert [level.shape for level in found.alignment] == [(3, 3)] * 4
    for level in found.alignment:
        assert np.allclose(np.diag(level), 1)
        assert np.allclose(level, level.T)
    assert set(found.losses) == set(found.members)
    # A third of the chips has no optical bands, and the radar is always asked.
    assert found.can_run == {
        "fine@1.0.0": pytest.approx(2 / 3, abs=0.01),
        "radar@1.0.0": 1.0,
        "visible@1.0.0": pytest.approx(2 / 3, abs=0.01),
    }
    assert sum(found.usage.values()) == pytest.approx(1)
    draw_redundancy(found, tmp_path / "picture.png", "three members")
    assert (tmp_path / "picture.png").stat().st_size > 5000
    assert tabulate_redundancy(found, "three").row_count == 3
