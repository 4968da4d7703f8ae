"""Batches of one source each, of images of one size.

Tensor shapes: B batch, C bands, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rasters import ChipDataset
from rasters.resize import resize_images
from router.pretraining.mixing import Draw


class SourceBatches(Dataset[dict[str, Any]]):
    """Batches by `Draw`: `image` (B, C, H, W), `valid`, `bands`, and the name of their `source`.

    Args:
        names: Of the sources.
        chips: Of every source.
        size: Edge of the images.
        turn: Mirror and turn those of a draw with a seed.
    """

    def __init__(
        self, names: Sequence[str], chips: Sequence[ChipDataset], size: int, turn: bool
    ) -> None:
        self.names = names
        self.chips = chips
        self.size = size
        self.turn = turn

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        random = None if draw.seed is None else np.random.default_rng(draw.seed)
        chips = self.chips[draw.source]
        images, valids = [], []
        for number in draw.chips:
            chip = chips[number]
            image_CHW, valid_CHW = fit_chip(chip["image"], chip["valid"], self.size, random)
            if random is not None and self.turn:
                turns, mirrored = random.integers(4), random.integers(2)
                image_CHW, valid_CHW = (
                    (x.flip(-1) if mirrored else x).rot90(int(turns), (-2, -1))
                    for x in (image_CHW, valid_CHW)
                )
            images.append(image_CHW)
            valids.append(valid_CHW)
        return {
            "image": torch.stack(images),
            "valid": torch.stack(valids),
            "bands": chips.bands,
            "source": self.names[draw.source],
        }


def fit_chip(
    image_CHW: Tensor, valid_CHW: Tensor, size: int, random: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A square of `size` pixels: what is too large is cut, what is too small enlarged before.

    Args:
        image_CHW: Pixels.
        valid_CHW: True where one was measured.
        size: Edge wanted.
        random: Decides where it is cut; without it, from the middle.
    """
    height, width = image_CHW.shape[-2:]
    factor = size / min(height, width)
    if factor > 1:
        wanted = (max(size, round(height * factor)), max(size, round(width * factor)))
        image_BCHW, valid_BCHW = resize_images(image_CHW[None], valid_CHW[None], wanted)
        image_CHW, valid_CHW = image_BCHW[0], valid_BCHW[0]
    spare = (image_CHW.shape[-2] - size, image_CHW.shape[-1] - size)
    top, left = (rest // 2 if random is None else int(random.integers(rest + 1)) for rest in spare)
    place = (..., slice(top, top + size), slice(left, left + size))
    return image_CHW[place], valid_CHW[place]
