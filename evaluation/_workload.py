"""What is run to measure an encoder's cost: one batch, forwards or through a training step.

Tensor shapes: B batch, C channels, H rows, W columns, D features, K classes.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation._chip_views import ChipView, Transform
from evaluation.bands import serve
from evaluation.context import DataContext
from evaluation.encoders import EncoderConfig, LoadedEncoder, load_encoder
from rasters import ChipDataset
from registry import Registry
from sensors import Channel
from specialists.loading import collate

_CLASSES = 10
_LEARNING_RATE = 1e-4

Step = Callable[[], object]
Images = tuple[Tensor, Tensor]
"""Physical pixels (B, C, H, W), and where they were measured."""


@dataclass(frozen=True)
class Workload:
    """An encoder on its device with a batch of the size and kind it would get from a data set.

    Args:
        encoder: Frozen.
        x_BCHW: Physical pixels.
        bands: What its channels measure.
        valid_BCHW: Where a pixel was measured.
    """

    encoder: LoadedEncoder
    x_BCHW: Tensor
    bands: tuple[Channel, ...]
    valid_BCHW: Tensor

    @classmethod
    def build(
        cls,
        config: EncoderConfig,
        context: DataContext,
        *,
        batch_size: int,
        device: str,
        seed: int,
        registry: Registry | None,
        images: Images | None = None,
    ) -> "Workload":
        """Load the encoder, and draw a batch unless there is one.

        What is drawn is white noise with the mean and deviation of the data.

        Args:
            config: The encoder.
            context: The data set.
            batch_size: Images that are drawn.
            device: Of torch.
            seed: Of random weights and pixels.
            registry: Where the encoder is looked up by name.
            images: Of the bands of `context`, where the cost depends on what they show.

        Raises:
            InputError: If there is no such encoder, or none of its bands is in the data.
        """
        encoder = load_encoder(config, context, seed=seed, registry=registry)
        shape = (batch_size, len(context.bands), context.chip_size, context.chip_size)
        mean_C11, std_C11 = (torch.tensor(v)[:, None, None] for v in (context.mean, context.std))
        noise_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        x_BCHW, bands = noise_BCHW * std_C11 + mean_C11, context.bands
        valid_BCHW = torch.ones(shape, dtype=torch.bool)
        if images is not None:
            x_BCHW, valid_BCHW = images
        if encoder.bands is not None:
            x_BCHW, bands, valid_BCHW = serve(x_BCHW, bands, valid_BCHW, encoder.bands)
        encoder.module.to(device)
        return cls(encoder, x_BCHW.to(device), bands, valid_BCHW.to(device))

    def inference(self, rows: slice = slice(None)) -> Step:
        """Features of the batch, or of some of its images: the image vector where there is one."""
        module: Any = self.encoder.module
        forward = getattr(module, "embed", None) or module.forward_features
        x_BCHW, valid_BCHW = self.x_BCHW[rows], self.valid_BCHW[rows]

        @torch.no_grad()
        def step() -> None:
            forward(x_BCHW, self.bands, valid_BCHW)

        return step

    def one_by_one(self, most: int) -> Iterator[Step]:
        """Features of one image, for each of the first images of the batch."""
        for row in range(min(most, len(self.x_BCHW))):
            yield self.inference(slice(row, row + 1))

    def training(self) -> Step:
        """Forward, backward and AdamW step of a copy that is not frozen, under a linear head.

        The members and the trunk of an ensemble stay frozen: gate and fusion are trained.

        Raises:
            ValueError: If there is nothing in it that could be trained.
        """
        module: Any = deepcopy(self.encoder.module).requires_grad_(True).train()
        if not any(True for _ in module.parameters()):
            raise ValueError("it has no parameters")
        device = self.x_BCHW.device
        head = nn.Linear(module.num_features, _CLASSES).to(device)
        optimizer = torch.optim.AdamW([*module.parameters(), *head.parameters()], _LEARNING_RATE)
        target_B = torch.arange(len(self.x_BCHW), device=device) % _CLASSES

        def step() -> None:
            optimizer.zero_grad()
            levels = module.forward_features(self.x_BCHW, self.bands, self.valid_BCHW)
            features_BD = levels[-1].mean(dim=(2, 3))
            if not features_BD.requires_grad:
                raise ValueError("no gradient comes through its features")
            torch.autograd.backward(F.cross_entropy(head(features_BD), target_B))
            optimizer.step()

        return step


def choose_images(chips: ChipDataset, count: int, image_size: int | None = None) -> Images:
    """Chips from all over a data set, some twice where there are too few.

    Args:
        chips: The data set.
        count: How many.
        image_size: Edge in pixels that they are resized to; by default as they are.
    """
    view = ChipView(chips, None, Transform(image_size=image_size))
    rows = np.linspace(0, len(view) - 1, count).round().astype(int)
    batch = collate([view[row] for row in rows.tolist()])
    return batch["image"], batch["valid"]
