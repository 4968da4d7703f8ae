"""Hiding patches: as many as asked for, and as if the hidden cells were not there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import InputError
from specialists.backbone import build_backbone
from specialists.warm_start_masks import choose_patch, draw_hidden, spread, visible_only

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("chip_size", "finest", "coarsest", "expected"),
    [
        *((224, 4, 32, 32), (128, 4, 32, 32), (120, 4, 32, 16), (64, 4, 32, 16), (16, 4, 32, 4)),
        *((64, 2, 16, 16), (16, 2, 16, 4), (5, 4, 32, 4), (1, 2, 16, 2)),
    ],
)
def test_patches_leave_four_on_an_edge_where_they_can(chip_size, finest, coarsest, expected):
    assert choose_patch(chip_size, finest, coarsest) == expected


@pytest.mark.parametrize("wanted", [2, 12, 64, 0])
def test_patches_that_cut_cells_are_refused(wanted):
    assert choose_patch(64, 4, 32, 8) == 8
    with pytest.raises(InputError, match=f"{wanted} is not one of 4, 8, 16, 32"):
        choose_patch(64, 4, 32, wanted)


@settings(max_examples=30)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(2, 6),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_every_image_hides_the_same_number_and_never_all_or_none(rows, columns, ratio, seed):
    shape = (5, rows, columns)
    hidden_B1YX = draw_hidden(shape, ratio, CPU, torch.Generator().manual_seed(seed))
    assert hidden_B1YX.shape == (5, 1, rows, columns)
    [count] = set(hidden_B1YX.flatten(1).sum(1).tolist())
    assert 0 < count < rows * columns
    assert abs(count - ratio * rows * columns) <= 1
    again = draw_hidden(shape, ratio, CPU, torch.Generator().manual_seed(seed))
    assert torch.equal(hidden_B1YX, again)


def test_images_hide_different_patches_everywhere():
    hidden_B1YX = draw_hidden((400, 4, 4), 0.6, CPU)
    share_YX = hidden_B1YX.float().mean((0, 1))
    assert share_YX.min() > 0.5
    assert share_YX.max() < 0.75


@pytest.mark.parametrize(
    ("architecture", "stem_stride"),
    [("convnextv2_atto", 4), ("convnextv2_atto", 2), ("convnextv2_tiny", 4)],
)
@torch.no_grad()
def test_hidden_cells_are_as_if_they_were_not_there(architecture, stem_stride):
    """The visible half of an image gives what it gives alone: nothing leaks in at its border."""
    torch.manual_seed(0)
    backbone = build_backbone(architecture, 3, stem_stride=stem_stride).eval()
    for weight in backbone.parameters():
        if weight.ndim == 1:
            weight.add_(torch.randn_like(weight) * 0.1)
    image_BCHW = torch.randn(2, 3, 32, 64)
    visible_B1HW = torch.zeros(2, 1, 32, 64, dtype=torch.bool)
    visible_B1HW[..., 32:] = True
    with visible_only(backbone, visible_B1HW):
        masked = backbone(image_BCHW * visible_B1HW)
    alone = backbone(image_BCHW[..., 32:].contiguous())
    for level, expected in zip(masked, alone, strict=True):
        found = level[..., expected.shape[-1] :]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    coarsest = backbone(image_BCHW * visible_B1HW)[-1][..., alone[-1].shape[-1] :]
    assert not torch.allclose(coarsest, alone[-1], atol=1e-2)


def test_nothing_is_hidden_afterwards(get_specialist):
    backbone = get_specialist().backbone
    image_BCHW = torch.randn(1, 4, 32, 32)
    before = backbone(image_BCHW)
    with (
        pytest.raises(ZeroDivisionError),
        visible_only(backbone, torch.zeros(1, 1, 32, 32, dtype=torch.bool)),
    ):
        raise ZeroDivisionError
    assert all(
        torch.equal(one, other) for one, other in zip(before, backbone(image_BCHW), strict=True)
    )


def test_spread_repeats_cells():
    cells = torch.tensor([[[[1, 2], [3, 4]]]])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert spread(cells, 2)[0, 0].tolist() == expected
