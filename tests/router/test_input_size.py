"""Tensor shapes: B batch, C channels, H rows, W columns."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from router.input_size import fit_to_patches, input_size

EDGES = st.integers(1, 300)


@given(EDGES, EDGES, st.integers(1, 20))
def test_images_grow_to_the_next_whole_number_of_patches(height, width, patch_size):
    sizes = zip(input_size(height, width, patch_size), (height, width), strict=True)
    assert all(size % patch_size == 0 and 0 <= size - edge < patch_size for size, edge in sizes)


def test_any_image_comes_to_the_size_asked_for():
    assert input_size(30, 50, 8, 64) == (64, 64)
    x_BCHW, valid = fit_to_patches(torch.full((1, 2, 30, 50), 0.3), None, 8, 64)
    assert_close(x_BCHW, torch.full((1, 2, 64, 64), 0.3))
    assert valid.all()


def test_what_fits_stays_as_it_is_but_for_invalid_pixels():
    x_BCHW = torch.rand(1, 2, 16, 24)
    valid = torch.rand(1, 2, 16, 24) > 0.5
    broken = torch.where(valid, x_BCHW, torch.nan)
    for given_valid in (valid, None, torch.ones_like(valid)):
        fitted, usable = fit_to_patches(broken, given_valid, 8)
        assert torch.equal(fitted, torch.where(valid, x_BCHW, 0))
        assert torch.equal(usable, valid)
