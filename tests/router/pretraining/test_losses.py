"""Patches are pixels in a known order, and errors are of what counts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining import Reconstruction, patchify, unpatchify
from router.pretraining.losses import cosine_loss, normalize_patches


def test_a_patch_is_listed_row_by_row_the_bands_of_a_pixel_side_by_side():
    # Each pixel says where it is: band, row, column.
    band, row, column = torch.meshgrid(
        torch.arange(3), torch.arange(4), torch.arange(6), indexing="ij"
    )
    x_BCHW = (100 * band + 10 * row + column)[None]
    patches_BNI = patchify(x_BCHW, 2)
    assert patches_BNI.shape == (1, 6, 12)
    fifth = [20 + 2, 120 + 2, 220 + 2, 20 + 3, 120 + 3, 220 + 3]  # row 2, columns 2 and 3
    fifth += [30 + 2, 130 + 2, 230 + 2, 30 + 3, 130 + 3, 230 + 3]
    assert patches_BNI[0, 4].tolist() == fifth


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    bands=st.integers(1, 4),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    size=st.integers(1, 5),
)
def test_patches_become_the_image_again(batch, bands, rows, columns, size):
    x_BCHW = torch.randn(batch, bands, rows * size, columns * size)
    patches_BNI = patchify(x_BCHW, size)
    assert patches_BNI.shape == (batch, rows * columns, size * size * bands)
    assert torch.equal(unpatchify(patches_BNI, size, (rows, columns)), x_BCHW)


@pytest.mark.parametrize("target", ["band", "patch"])
def test_targets_have_mean_0_and_variance_1_over_valid_pixels(target):
    torch.manual_seed(0)
    pixels_BNPC = torch.randn(2, 3, 64, 4) * torch.tensor([0.1, 1, 2, 3]) + torch.arange(4)
    valid_BNPC = torch.rand(2, 3, 64, 4) < 0.7
    valid_BNPC[1, 2] = False
    stored_BNPC = pixels_BNPC.where(valid_BNPC, 1e3)
    target_BNPC, mean, std = normalize_patches(stored_BNPC, valid_BNPC, target)
    assert mean.shape == std.shape == (2, 3, 1, 4 if target == "band" else 1)
    torch.testing.assert_close((target_BNPC * std + mean)[valid_BNPC], pixels_BNPC[valid_BNPC])
    assert not target_BNPC[~valid_BNPC].any()
    groups = [target_BNPC[0, 1]] if target == "patch" else list(target_BNPC[0, 1].unbind(-1))
    places = [valid_BNPC[0, 1]] if target == "patch" else list(valid_BNPC[0, 1].unbind(-1))
    for values, valid in zip(groups, places, strict=True):
        torch.testing.assert_close(values[valid].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            values[valid].std(correction=0), torch.tensor(1.0), atol=1e-3, rtol=0
        )


def test_pixels_as_targets_are_left_as_they_are_where_valid():
    pixels_BNPC = torch.randn(2, 3, 64, 4)
    valid_BNPC = torch.rand(2, 3, 64, 4) < 0.7
    target_BNPC, mean, std = normalize_patches(pixels_BNPC, valid_BNPC, "pixel")
    assert torch.equal(target_BNPC, pixels_BNPC.where(valid_BNPC, 0))
    assert not mean.any()
    assert (std == 1).all()


def test_errors_are_of_what_counts():
    target_BNPC = torch.arange(12.0).view(1, 2, 3, 2)
    counted_BNPC = torch.zeros(1, 2, 3, 2, dtype=torch.bool)
    counted_BNPC[0, 1, 0] = True  # the values 6 and 7, ...
    counted_BNPC[0, 0, 1:, 0] = True  # ... and 2 and 4
    unit = torch.ones(1, 2, 1, 1)
    seen_BCHW = torch.zeros(1, 2, 1, 6, dtype=torch.bool)
    made = Reconstruction(
        target_BNPC + 2, target_BNPC, 0 * unit, unit, counted_BNPC, seen_BCHW, (1, 2)
    )
    assert made.error() == 4
    assert made.floor() == (0 + 0 + 1 + 1) / 4  # 6 and 7 are of two bands; 3 is the mean of 2 and 4
    assert made.count() == 4
    elsewhere = target_BNPC + ~counted_BNPC * 5
    assert replace(made, predicted_BNPC=elsewhere).error() == 0
    nothing = replace(made, counted_BNPC=counted_BNPC & False)
    assert nothing.error() == nothing.floor() == 0


def test_distance_of_directions():
    a_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    b_BD = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # 0, 1 and 2 apart
    assert cosine_loss(a_BD, b_BD, torch.ones(3)).item() == pytest.approx(1)
    weight_B = torch.tensor([1.0, 0.5, 0.0])
    assert cosine_loss(a_BD, b_BD, weight_B).item() == pytest.approx(0.5 / 1.5)
    assert cosine_loss(a_BD, b_BD, torch.zeros(3)) == 0
