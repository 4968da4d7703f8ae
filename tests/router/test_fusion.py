"""Fusion: concatenation is the sum of projections, and who did not run leaves no trace."""

import pytest
import torch
import torch.nn.functional as F

from router.ensemble_spec import EnsembleSpec
from router.fusion import Fusion, Source
from sensors import InputError

WIDTHS = {"a@1:0:0": ((3, 5), (4, 8)), "b@1:0:0": ((4, 6), (4, 8))}


def make(kind, channels=(8, 12)):
    torch.manual_seed(0)
    fusion = Fusion(EnsembleSpec(fusion=kind, channels=channels, reductions=(4, 8)), WIDTHS)
    for weight in fusion.bias:
        torch.nn.init.normal_(weight)
    return fusion


def levels(batch, widths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, 16 // reduction, 16 // reduction, generator=generator)
        for width, reduction in zip(widths, (4, 8), strict=True)
    ]


def test_concat_is_a_one_by_one_convolution_over_all_channels_behind_one_another():
    fusion = make("concat")
    a, b = levels(2, (3, 5)), levels(2, (4, 6), seed=1)
    half = torch.full((2,), 0.5)
    sources = {
        "a@1:0:0": Source(a, None, half, (4, 8)),
        "b@1:0:0": Source(b, None, half, (4, 8)),
    }
    fused = fusion(sources, 2, (16, 16))
    for level in range(2):
        normed = [
            F.layer_norm(part[level].movedim(1, -1), part[level].shape[1:2], eps=1e-6).movedim(
                -1, 1
            )
            for part in (a, b)
        ]
        weight = torch.cat(
            [fusion.projections[key][level].weight for key in ("a@1:0:0", "b@1:0:0")], dim=1
        )
        expected = F.conv2d(torch.cat(normed, dim=1), weight, fusion.bias[level])
        torch.testing.assert_close(fused[level], expected)


def test_a_concat_with_room_keeps_what_every_member_says():
    """Projections begin as rotations: with room for both, a linear map gets both back."""
    fusion = make("concat")
    for key in WIDTHS:
        for convolution in fusion.projections[key]:
            matrix = convolution.weight[:, :, 0, 0]
            torch.testing.assert_close(matrix.T @ matrix, torch.eye(matrix.shape[1]))


@pytest.mark.parametrize("kind", ["concat", "sum", "attention"])
def test_images_get_only_what_ran_for_them(kind):
    fusion = make(kind)
    a, b = levels(3, (3, 5)), levels(2, (4, 6), seed=1)
    rows = torch.tensor([2, 0])
    weights_a = torch.tensor([0.3, 1.0, 0.6])
    fused = fusion(
        {
            "a@1:0:0": Source(a, None, weights_a, (4, 8)),
            "b@1:0:0": Source(b, rows, torch.tensor([0.4, 0.7]), (4, 8)),
        },
        3,
        (16, 16),
    )
    for place, row in enumerate(rows.tolist()):
        alone = fusion(
            {
                "a@1:0:0": Source([x[[row]] for x in a], None, weights_a[[row]], (4, 8)),
                "b@1:0:0": Source(
                    [x[[place]] for x in b], None, torch.tensor([0.4, 0.7])[[place]], (4, 8)
                ),
            },
            1,
            (16, 16),
        )
        for level, single in zip(fused, alone, strict=True):
            torch.testing.assert_close(level[[row]], single)
    only_a = fusion(
        {"a@1:0:0": Source([x[[1]] for x in a], None, weights_a[[1]], (4, 8))}, 1, (16, 16)
    )
    for level, single in zip(fused, only_a, strict=True):
        torch.testing.assert_close(level[[1]], single)


@pytest.mark.parametrize("kind", ["concat", "sum"])
def test_a_larger_weight_counts_for_more(kind):
    fusion = make(kind)
    a, b = levels(1, (3, 5)), levels(1, (4, 6), seed=1)

    def fuse(weight):
        return fusion(
            {
                "a@1:0:0": Source(a, None, torch.tensor([weight]), (4, 8)),
                "b@1:0:0": Source(b, None, torch.tensor([1 - weight]), (4, 8)),
            },
            1,
            (16, 16),
        )[0]

    middle = (fuse(0.2) + fuse(0.8)) / 2
    torch.testing.assert_close(fuse(0.5), middle, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fuse(0.2), fuse(0.8))


def test_projections_follow_from_the_name_and_not_from_chance():
    torch.manual_seed(1)
    one = make("concat")
    torch.rand(7)
    other = Fusion(one.spec, dict(reversed(WIDTHS.items())))
    for key in WIDTHS:
        for first, second in zip(one.projections[key], other.projections[key], strict=True):
            assert torch.equal(first.weight, second.weight)
    assert not torch.equal(
        one.projections["a@1:0:0"][0].weight[:, :3], one.projections["b@1:0:0"][0].weight[:, :3]
    )


def test_sum_refuses_a_member_that_is_too_wide_for_it():
    fusion = make("sum", channels=(4, 6))
    with pytest.raises(InputError, match=r"c@1.0.0 has levels of \[9, 9\].*\[4, 6\] at most"):
        fusion.add("c@1:0:0", (9, 9), (4, 8))
