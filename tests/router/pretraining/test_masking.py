"""Hidden patches are as many as asked for, and drawn from nothing but the generator."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining.masking import choose_bands, draw_bands, hide_patches
from sensors import InputError

CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 4),
    rows=st.integers(1, 9),
    columns=st.integers(2, 9),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_every_image_has_the_same_number_of_hidden_patches(batch, rows, columns, ratio, seed):
    mask = hide_patches(batch, (rows, columns), ratio, CPU, seeded(seed))
    count = rows * columns
    hidden = mask.hidden_BN.sum(1)
    assert mask.hidden_BN.shape == (batch, count)
    assert set(hidden.tolist()) == {min(max(1, round(ratio * count)), count - 1)}
    for hidden_N, keep_V in zip(mask.hidden_BN, mask.keep_BV, strict=True):
        assert keep_V.tolist() == [n for n in range(count) if not hidden_N[n]]


def test_patches_are_hidden_at_random_and_again_alike():
    masks = [hide_patches(8, (4, 4), 0.75, CPU, seeded(seed)).hidden_BN for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert len(masks[0].unique(dim=0)) > 1
    share_N = hide_patches(4000, (2, 4), 0.75, CPU, seeded()).hidden_BN.float().mean(0)
    assert (share_N - 0.75).abs().max() < 0.03


def test_a_single_patch_cannot_be_hidden():
    with pytest.raises(InputError, match="a single patch"):
        hide_patches(2, (1, 1), 0.75, CPU)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 12), probability=st.floats(0, 1), seed=st.integers(0, 99))
def test_some_bands_are_shown(count, probability, seed):
    shown = draw_bands(count, probability, seeded(seed))
    assert shown == draw_bands(count, probability, seeded(seed))
    assert 1 <= len(shown) <= count
    assert list(shown) == sorted(set(shown) & set(range(count)))


def test_bands_are_dropped_as_often_as_asked_for():
    generator = seeded()
    assert {draw_bands(5, 0.0, generator) for _ in range(50)} == {(0, 1, 2, 3, 4)}
    assert {draw_bands(1, 1.0, generator) for _ in range(50)} == {(0,)}
    drawn = [draw_bands(4, 0.5, generator) for _ in range(4000)]
    lengths = Counter(map(len, drawn))
    assert abs(lengths[4] / 4000 - 0.5) < 0.03
    for length in (1, 2, 3):
        assert abs(lengths[length] / 4000 - 1 / 6) < 0.03
    once = Counter(shown[0] for shown in drawn if len(shown) == 1)
    assert all(abs(times / lengths[1] - 0.25) < 0.08 for times in once.values())
    assert len(once) == 4


def test_every_band_is_chosen_alike():
    generator = seeded()
    drawn = [choose_bands(10, 3, generator) for _ in range(2000)]
    assert all(len(set(chosen)) == 3 and list(chosen) == sorted(chosen) for chosen in drawn)
    times = Counter(band for chosen in drawn for band in chosen)
    assert sorted(times) == list(range(10))
    assert all(abs(count / 2000 - 0.3) < 0.05 for count in times.values())
