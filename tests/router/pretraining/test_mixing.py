"""Mixed batches: shares and order follow from seed and epoch alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining.mixing import MixedSampler, selection_draws, share_out


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


def test_shares_are_weights_times_the_root_of_counts(sources):
    optical, radar = (len(source.train) for source in sources)
    assert radar < 0.8 * optical
    first, second = share_out(sources)
    assert first + second == pytest.approx(1)
    assert second / first == pytest.approx(3 * (radar / optical) ** 0.5)
