"""Batches: of one source, of one size, cut and turned as their draw says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining.batches import SourceBatches, fit_chip
from router.pretraining.mixing import Draw


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 50), st.integers(5, 50), st.integers(5, 40), st.booleans())
def test_chips_of_any_size_become_squares(height, width, size, is_random):
    ramp_CHW = torch.arange(height * width, dtype=torch.float32).reshape(1, height, width)
    random = np.random.default_rng(0) if is_random else None
    image_CHW, valid_CHW = fit_chip(ramp_CHW, torch.ones(1, height, width) > 0, size, random)
    assert image_CHW.shape == valid_CHW.shape == (1, size, size)
    assert valid_CHW.all()
    assert ramp_CHW.min() - 1e-3 <= image_CHW.min()
    assert image_CHW.max() <= ramp_CHW.max() + 1e-2
    if min(height, width) >= size:  # cut, not changed
        assert image_CHW[0, 0, 1] - image_CHW[0, 0, 0] == 1
        assert image_CHW[0, 1, 0] - image_CHW[0, 0, 0] == width


def test_a_chip_is_cut_from_its_middle_or_anywhere():
    ramp_CHW = torch.arange(100.0).reshape(1, 10, 10)
    valid_CHW = torch.ones(1, 10, 10) > 0
    assert fit_chip(ramp_CHW, valid_CHW, 4)[0][0, 0, 0] == 33
    random = np.random.default_rng(0)
    corners = {float(fit_chip(ramp_CHW, valid_CHW, 4, random)[0][0, 0, 0]) for _ in range(400)}
    assert corners == {10.0 * row + column for row in range(7) for column in range(7)}


def test_invalid_pixels_do_not_colour_their_neighbours():
    image_CHW = torch.full((1, 4, 4), 300.0)
    valid_CHW = torch.ones(1, 4, 4) > 0
    image_CHW[..., :2], valid_CHW[..., :2] = 0, False
    image_CHW, valid_CHW = fit_chip(image_CHW, valid_CHW, 16)
    assert 0.4 < valid_CHW.float().mean() < 0.6
    torch.testing.assert_close(image_CHW[valid_CHW], torch.full((int(valid_CHW.sum()),), 300.0))


@pytest.fixture(scope="module")
def batches(sources):
    chips = [source.train for source in sources]
    return SourceBatches([source.name for source in sources], chips, 16, turn=True)


def test_a_batch_is_of_one_source_and_follows_from_its_draw(batches, sources):
    draw = Draw(1, (2, 0, 1), seed=5)
    batch = batches[draw]
    assert batch["source"] == "radar"
    assert batch["bands"] == sources[1].train.bands
    assert batch["image"].shape == batch["valid"].shape == (3, 2, 16, 16)
    assert torch.equal(batches[draw]["image"], batch["image"])
    assert not torch.equal(batches[draw._replace(seed=6)]["image"], batch["image"])
    middle = batches[Draw(1, (2,))]["image"][0]
    assert torch.equal(middle, sources[1].train[2]["image"][:, 12:28, 8:24])


def test_training_images_are_turned_in_all_eight_ways(sources):
    chips = [source.train for source in sources]
    turned, still = (SourceBatches(["a", "b"], chips, 24, turn) for turn in (True, False))
    as_it_is = still[Draw(0, (0,))]["image"][0]
    seen = [turned[Draw(0, (0,), seed)]["image"][0] for seed in range(80)]
    ways = {tuple(image[0, 0, :4].tolist() + image[0, 1, :4].tolist()) for image in seen}
    assert len(ways) == 8
    assert all(torch.equal(still[Draw(0, (0,), n)]["image"][0], as_it_is) for n in range(5))
    for image in seen:
        assert image.sum() == pytest.approx(float(as_it_is.sum()), rel=1e-4)
