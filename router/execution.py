"""Running what was selected and nothing else: images are gathered, run as one batch, put back.

Tensor shapes: B batch, b images that something runs for, C given bands, H rows, W columns, D width
of the trunk.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from router.applicability import describe_missing, find_patterns
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


class View(NamedTuple):
    """What the trunk saw in a batch.

    Args:
        vectors_BD: One vector for each image.
        gsd_B: Its ground sample distance in metres, NaN if it is not known.
        levels: The trunk's own pyramid, (B, D, H_i, W_i), finest first, if it was asked for.
    """

    vectors_BD: Tensor
    gsd_B: Tensor
    levels: Sequence[Tensor] | None


@torch.no_grad()
def look(
    trunk: Trunk,
    spec: EnsembleSpec,
    images: Images,
    gsd: float | None = None,
    *,
    with_levels: bool = False,
) -> View:
    """Run the trunk once on every image of a batch, each with the bands that it has.

    Args:
        trunk: The trunk.
        spec: Of the ensemble.
        images: The batch.
        gsd: In metres; None for that of each image's own bands.
        with_levels: Give the pyramid, too.
    """
    x_BCHW = images.x_BCHW
    vectors_BD = x_BCHW.new_zeros(len(x_BCHW), trunk.num_features)
    gsd_B = x_BCHW.new_zeros(len(x_BCHW))
    found: list[list[Tensor]] = []
    order: list[Tensor] = []
    for pattern in find_patterns(images.usable_BCHW, images.bands, ()):
        rows = pattern.rows
        if rows is None:
            rows = torch.arange(len(x_BCHW), device=x_BCHW.device)
        fitted, usable = fit_to_patches(
            pattern.select(x_BCHW),
            pattern.select(images.usable_BCHW),
            trunk.spec.patch_size,
            spec.trunk_image_size,
        )
        if with_levels:
            vectors_BD[rows], levels = trunk.embed_and_features(fitted, pattern.bands, usable)
            found.append(levels)
            order.append(rows)
        else:
            vectors_BD[rows] = trunk.embed(fitted, pattern.bands, usable)
        gsd_B[rows] = _gsd_of(pattern.bands) if gsd is None else gsd
    if not with_levels:
        return View(vectors_BD, gsd_B, None)
    back = torch.cat(order).argsort()
    pyramid = [torch.cat(parts)[back] for parts in zip(*found, strict=True)]
    return View(vectors_BD, gsd_B, pyramid)


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


def _gsd_of(bands: Sequence[Channel]) -> float:
    """Median ground sample distance of bands in metres, NaN if none says."""
    known = sorted(band.gsd for band in bands if band.gsd is not None)
    return known[len(known) // 2] if known else float("nan")
