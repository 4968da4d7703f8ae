"""Running what was selected and nothing else: images are gathered, run as one batch, put back.

Tensor shapes: B batch, b images that something runs for, C given bands, H rows, W columns, D width
of the trunk.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from router.applicability import Pattern, describe_missing, find_patterns
from router.ensemble_spec import EnsembleSpec
from router.fusion import Source
from router.input_size import fit_to_patches
from router.member import Member
from router.trunk import Trunk
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.backbone import pad_to_multiple
from specialists.network import check_shapes


class Images(NamedTuple):
    """A batch that is ready to run.

    Args:
        x_BCHW: Physical pixels, 0 where they are not usable.
        usable_BCHW: Where they are.
        bands: What each channel measures.
    """

    x_BCHW: Tensor
    usable_BCHW: Tensor
    bands: tuple[Channel, ...]

    def select(self, rows: Tensor | None) -> "Images":
        """Some of the images; None for all of them."""
        if rows is None:
            return self
        return Images(self.x_BCHW[rows], self.usable_BCHW[rows], self.bands)


def prepare_images(
    x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None, multiple: int
) -> Images:
    """Images grown at their bottom and right to a multiple of some number of pixels.

    Raises:
        InputError: If shapes do not fit together, or the bands are not said.
    """
    if bands is None:
        raise InputError("an ensemble takes any bands: say with `bands` what each channel measures")
    given = tuple(bands)
    check_shapes(x_BCHW, given, valid)
    usable = x_BCHW.isfinite() if valid is None else x_BCHW.isfinite() & valid
    x_BCHW = torch.where(usable, x_BCHW, 0)
    if x_BCHW.shape[-2] % multiple or x_BCHW.shape[-1] % multiple:
        usable = pad_to_multiple(usable.to(x_BCHW.dtype), multiple) > 0.5
        x_BCHW = pad_to_multiple(x_BCHW, multiple)
    return Images(x_BCHW, usable, given)


@torch.no_grad()
def run_member(member: Member, images: Images, weights_B: Tensor) -> Source | None:
    """Run one member on the images that ask for it; None if none does.

    Args:
        member: Which one.
        images: All of the batch.
        weights_B: Its weight for each of them.
    """
    rows = (weights_B > 0).nonzero()[:, 0]
    if not len(rows):
        return None
    chosen = None if len(rows) == len(weights_B) else rows
    own = images.select(chosen)
    levels = member.network.forward_features(own.x_BCHW, own.bands, own.usable_BCHW)
    with torch.enable_grad():
        weights_b = weights_B if chosen is None else weights_B[chosen]
    return Source(levels, chosen, weights_b, member.network.feature_info.reduction())


@torch.no_grad()
def run_trunk(trunk: Trunk, spec: EnsembleSpec, images: Images, rows: Tensor) -> Source:
    """Run the trunk for its own pyramid on some of the images.

    Args:
        trunk: The trunk.
        spec: Of the ensemble.
        images: All of the batch.
        rows: Which of them.
    """
    own = images.select(rows)
    found: list[list[Tensor]] = []
    order: list[Tensor] = []
    for pattern in find_patterns(own.usable_BCHW, own.bands, ()):
        found.append(trunk.forward_features(*_as_trunk_sees(trunk, spec, own, pattern)))
        everything = torch.arange(len(rows), device=rows.device)
        order.append(everything if pattern.rows is None else pattern.rows)
    back = torch.cat(order).argsort()
    levels = [torch.cat(parts)[back] for parts in zip(*found, strict=True)]
    weights_b = own.x_BCHW.new_ones(len(rows))
    return Source(levels, rows, weights_b, trunk.feature_info.reduction())


@torch.no_grad()
def look(
    trunk: Trunk, spec: EnsembleSpec, images: Images, patterns: Sequence[Pattern], gsd: float | None
) -> tuple[Tensor, Tensor]:
    """The trunk's vectors (B, D) of images, and their ground sample distances (B,), NaN if unknown.

    Args:
        trunk: The trunk.
        spec: Of the ensemble.
        images: The batch.
        patterns: Which of them have which bands.
        gsd: In metres; None for that of each image's own bands.
    """
    x_BCHW = images.x_BCHW
    vectors_BD = x_BCHW.new_zeros(len(x_BCHW), trunk.num_features)
    gsd_B = x_BCHW.new_zeros(len(x_BCHW))
    for pattern in patterns:
        rows = slice(None) if pattern.rows is None else pattern.rows
        vectors_BD[rows] = trunk.embed(*_as_trunk_sees(trunk, spec, images, pattern))
        gsd_B[rows] = _gsd_of(pattern.bands) if gsd is None else gsd
    return vectors_BD, gsd_B


def nobody_can(members: Sequence[Member], images: Images, rows: Tensor) -> str:
    """Why no member can run for some images, in sentences."""
    own = images.select(rows)
    pattern = next(iter(find_patterns(own.usable_BCHW, own.bands, members)))
    names = ", ".join(band.name for band in pattern.bands[:20])
    lines = [
        f"\n  {member.reference}: {describe_missing(plan)}"
        for member, plan in zip(members, pattern.plans, strict=True)
    ]
    return f"no member can run on the bands {names}; missing are" + "".join(lines)


def _as_trunk_sees(
    trunk: Trunk, spec: EnsembleSpec, images: Images, pattern: Pattern
) -> tuple[Tensor, tuple[Channel, ...], Tensor]:
    """The images of a pattern at the trunk's size, their bands, and where they are usable."""
    x_bCHW, usable = fit_to_patches(
        pattern.select(images.x_BCHW),
        pattern.select(images.usable_BCHW),
        trunk.spec.patch_size,
        spec.trunk_image_size,
    )
    return x_bCHW, pattern.bands, usable


def _gsd_of(bands: Sequence[Channel]) -> float:
    """Median ground sample distance of bands in metres, NaN if none says."""
    known = sorted(band.gsd for band in bands if band.gsd is not None)
    return known[len(known) // 2] if known else float("nan")
