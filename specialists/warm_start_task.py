"""Masked modelling of images: a backbone sees a part of them, a light decoder completes the rest.

The idea is that of ConvNeXt V2's fully convolutional masked autoencoder (arXiv 2301.00808, section
3.1), for any bands, and for chips so small that they have few cells at the coarsest level.

Shape suffixes: B batch, C channels, H height, W width, Y and X rows and columns of patches, D
values of a patch (C times its pixels).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from specialists.augment import Augment, Batch
from specialists.model import Specialist
from specialists.module import SpecialistModule
from specialists.warm_start_config import PretrainTrainerConfig
from specialists.warm_start_decoder import MaskedDecoder
from specialists.warm_start_masks import choose_patch, draw_hidden, spread, visible_only

_BETAS = (0.9, 0.95)  # of AdamW, as in the paper's pretraining
_EPSILON = 1e-6  # added to the variance of a patch, as in the paper


@dataclass(frozen=True)
class Reconstruction:
    """What was made of a masked batch, patch by patch.

    Args:
        predicted_BDYX: What the decoder says.
        target_BDYX: The truth: pixels with mean 0 and variance 1 over the valid values of a patch,
            all bands together.
        mean_B1YX, std_B1YX: What makes pixels, scaled as the network sees them, of the two above.
        counted_BDYX: True where it counts: at hidden and valid pixels.
        hidden_B1YX: True for patches that were hidden.
    """

    predicted_BDYX: Tensor
    target_BDYX: Tensor
    mean_B1YX: Tensor
    std_B1YX: Tensor
    counted_BDYX: Tensor
    hidden_B1YX: Tensor

    def error(self) -> Tensor:
        """Mean squared error over what counts (MAE, arXiv 2111.06377, section 4); 0 of nothing."""
        return self._mean((self.predicted_BDYX - self.target_BDYX).square())

    def floor(self) -> Tensor:
        """The error of saying each patch's own mean everywhere: near 1, less for flat patches."""
        return self._mean(self.target_BDYX.square())

    def _mean(self, squares_BDYX: Tensor) -> Tensor:
        counted_BDYX = self.counted_BDYX.to(squares_BDYX.dtype)
        return (squares_BDYX * counted_BDYX).sum() / counted_BDYX.sum().clamp(min=1)


class MaskedTask(SpecialistModule[Specialist]):
    """A backbone that learns by completing what was hidden from it.

    Args:
        specialist: Its backbone learns.
        recipe: How.

    Raises:
        InputError: If the recipe is not one, or does not fit the backbone.
    """

    def __init__(self, specialist: Specialist, recipe: PretrainTrainerConfig) -> None:
        super().__init__(specialist, recipe, _BETAS)
        masking = recipe.masking
        masking.check()
        info: Any = specialist.feature_info
        channels, reductions = info.channels(), info.reduction()
        self.ratio = masking.ratio
        self.coarsest = reductions[-1]
        self.patch = choose_patch(
            specialist.spec.chip_size, reductions[0], self.coarsest, masking.patch
        )
        self.first_level = 0 if masking.levels == "all" else len(channels) - 1
        self.decoder = MaskedDecoder(
            channels[self.first_level :],
            [reduction / self.patch for reduction in reductions[self.first_level :]],
            masking.decoder_width,
            len(specialist.bands) * self.patch**2,
        )
        self.augment = Augment(recipe.augment, specialist.spec)
        self.validation_error = MeanMetric()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Error of the reconstruction of one batch."""
        batch = self.augment(batch)
        loss = self.reconstruct(batch["image"], batch["valid"]).error()
        self.log_loss(loss, len(batch["image"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch of the selection split, of which the same is hidden in every epoch."""
        generator = torch.Generator().manual_seed(batch_idx)
        made = self.reconstruct(batch["image"], batch["valid"], generator)
        self.validation_error.update(made.error(), made.counted_BDYX.sum())

    def on_validation_epoch_end(self) -> None:
        """Log the error, by which the best weights are chosen."""
        self.log("val_masked_mse", self.validation_error.compute(), prog_bar=True, sync_dist=True)
        self.validation_error.reset()

    def reconstruct(
        self, x_BCHW: Tensor, valid: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Hide patches of a batch, and complete them.

        Args:
            x_BCHW: Physical pixels of the specialist's own bands.
            valid: True where a pixel was measured, of the same shape.
            generator: On the CPU, decides what is hidden; without it, torch's global one does.
        """
        x_BCHW, valid = self.prepare(x_BCHW, valid)
        batch, _, height, width = x_BCHW.shape
        shape = (batch, height // self.patch, width // self.patch)
        hidden_B1YX = draw_hidden(shape, self.ratio, x_BCHW.device, generator)
        visible_B1HW = ~spread(hidden_B1YX, self.patch)
        with visible_only(self.specialist.backbone, visible_B1HW):
            features = self.specialist.pyramid(self.arrange(x_BCHW * visible_B1HW))
        predicted_BDYX = self.decoder(features[self.first_level :], hidden_B1YX)
        return self._compare(predicted_BDYX.float(), x_BCHW, valid, hidden_B1YX)

    def prepare(self, x_BCHW: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled pixels, 0 where invalid, and where they are valid; in whole coarsest cells.

        They grow with invalid pixels: mirrored ones would give away what is hidden.
        """
        valid = valid & x_BCHW.isfinite()
        x_BCHW = self.specialist.normalize(x_BCHW, valid=valid)
        height, width = x_BCHW.shape[-2:]
        missing = (0, -width % self.coarsest, 0, -height % self.coarsest)
        return F.pad(x_BCHW, missing), F.pad(valid, missing)

    def _compare(
        self, predicted_BDYX: Tensor, x_BCHW: Tensor, valid_BCHW: Tensor, hidden_B1YX: Tensor
    ) -> Reconstruction:
        pixels_BDYX = F.pixel_unshuffle(x_BCHW, self.patch)
        valid_BDYX = F.pixel_unshuffle(valid_BCHW.float(), self.patch)
        count_B1YX = valid_BDYX.sum(1, keepdim=True).clamp(min=1)
        mean_B1YX = (pixels_BDYX * valid_BDYX).sum(1, keepdim=True) / count_B1YX
        centred_BDYX = (pixels_BDYX - mean_B1YX) * valid_BDYX
        variance_B1YX = centred_BDYX.square().sum(1, keepdim=True) / count_B1YX
        std_B1YX = (variance_B1YX + _EPSILON).sqrt()
        return Reconstruction(
            predicted_BDYX,
            centred_BDYX / std_B1YX,
            mean_B1YX,
            std_B1YX,
            (valid_BDYX > 0) & hidden_B1YX,
            hidden_B1YX,
        )
