"""Mixed batches: the shares, the order and the crops follow from seed and epoch alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining.config import compose_trunk_config
from router.pretraining.mixing import (
    Draw,
    MixedData,
    MixedSampler,
    SourceBatches,
    fit_chip,
    selection_draws,
    share_out,
)
from router.pretraining.sources import load_sources
from sensors import InputError


@st.composite
def samplers(draw):
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    weights = [draw(st.floats(0.1, 10)) for _ in counts]
    return {
        "counts": counts,
        "shares": [weight / sum(weights) for weight in weights],
        "batch_size": draw(st.integers(1, 9)),
        "steps": draw(st.integers(1, 30)),
        "seed": draw(st.integers(0, 2**31)),
    }


def epoch_of(number=0, **entries):
    sampler = MixedSampler(**entries)
    sampler.set_epoch(number)
    draws = list(sampler)
    assert len(draws) == len(sampler)
    return draws


@settings(deadline=None, max_examples=50)
@given(samplers(), st.integers(0, 100))
def test_every_source_gets_its_share_of_full_batches(entries, number):
    draws = epoch_of(number, **entries)
    batches = Counter(draw.source for draw in draws)
    for source, share in enumerate(entries["shares"]):
        assert abs(batches[source] - share * entries["steps"]) < 1 + 1e-6
        dealt = Counter(chip for draw in draws if draw.source == source for chip in draw.chips)
        count = entries["counts"][source]
        assert set(dealt) <= set(range(count))
        times = [dealt[chip] for chip in range(count)]
        assert max(times) - min(times) <= 1  # none comes again before all have come
    assert all(len(draw.chips) == entries["batch_size"] for draw in draws)


@settings(deadline=None, max_examples=30)
@given(samplers(), st.integers(0, 100), st.integers(2, 3))
def test_processes_take_other_chips_of_the_same_sources(entries, number, processes):
    together = [
        epoch_of(number, **entries, processes=processes, rank=rank) for rank in range(processes)
    ]
    for draws in zip(*together, strict=True):
        assert len({draw.source for draw in draws}) == 1
        assert len({draw.seed for draw in draws}) == processes
    first = together[0][0].source
    chips = [chip for draws in together for chip in draws[0].chips]
    if len(chips) <= entries["counts"][first]:
        assert len(set(chips)) == len(chips)


def test_an_epoch_follows_from_seed_and_number():
    entries = {"counts": [20, 30], "shares": [0.5, 0.5], "batch_size": 4, "steps": 6}
    first = epoch_of(3, **entries, seed=1)
    assert epoch_of(3, **entries, seed=1) == first
    assert epoch_of(4, **entries, seed=1) != first
    assert epoch_of(3, **entries, seed=2) != first


def test_small_shares_come_on_average():
    entries = {"counts": [50, 5], "shares": [0.98, 0.02], "batch_size": 1, "steps": 10, "seed": 0}
    rare = sum(draw.source == 1 for number in range(300) for draw in epoch_of(number, **entries))
    assert 40 < rare < 80  # 2 % of 3000


def test_sources_without_weight_are_not_learned_from():
    draws = epoch_of(counts=[9, 9], shares=[0.0, 1.0], batch_size=2, steps=20, seed=0)
    assert {draw.source for draw in draws} == {1}


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 7), st.integers(1, 3))
def test_selection_chips_are_scored_once_and_every_process_has_every_source(
    counts, batch_size, processes
):
    parts = [selection_draws(counts, batch_size, processes, rank) for rank in range(processes)]
    for part in parts:
        assert {draw.source for draw in part} == set(range(len(counts)))
        assert all(0 < len(draw.chips) <= batch_size and draw.seed is None for draw in part)
    if min(counts) >= processes:
        chips = [(draw.source, chip) for part in parts for draw in part for chip in draw.chips]
        assert sorted(chips) == [(s, n) for s, count in enumerate(counts) for n in range(count)]


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
def sources(overrides, sources_dir):
    split = "{fractions: {selection: 0.3, test: 0.4}}"
    entries = f"[optical,{{base: radar, weight: 3, split: {split}}}]"
    config = compose_trunk_config(overrides(sources=entries, run_dir="x"), sources_dir)
    return load_sources(config.sources, selection_chips=5)


@pytest.fixture(scope="module")
def batches(sources):
    chips = [source.train for source in sources]
    return SourceBatches([source.name for source in sources], chips, 16, turn=True)


def test_shares_are_weights_times_the_root_of_counts(sources):
    optical, radar = (len(source.train) for source in sources)
    assert radar < 0.8 * optical
    first, second = share_out(sources)
    assert first + second == pytest.approx(1)
    assert second / first == pytest.approx(3 * (radar / optical) ** 0.5)


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


def test_a_run_does_not_go_on_with_other_chips(sources):
    settings = {"size": 16, "turn": True, "batch_size": 4, "steps": 1, "seed": 0, "workers": 0}
    state = MixedData(sources, **settings).state_dict()
    MixedData(sources, **settings).load_state_dict(state)
    optical, radar = sources
    fewer = replace(radar, train=radar.train.subset(range(3)))
    with pytest.raises(InputError, match=r"^radar changed since"):
        MixedData([optical, fewer], **settings).load_state_dict(state)
